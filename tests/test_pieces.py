"""Tangents piece by piece against whole tensors, to the last bit; how lists are cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from oracles import HYPERS, SETTINGS, Setting
from torch import Tensor

from adatune_lite.rules import pieces

ROOM = 192
SHAPES = [(3,), (0,), (1037,), (), (17, 41), (16, 8, 3, 3), (2, 1)]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(pieces, "PIECE", ROOM)
    yield
    torch.set_num_threads(threads)


def draw(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Tensors of all sizes, the convolution's in channels_last."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in SHAPES]
    found[5] = found[5].to(memory_format=torch.channels_last)
    found[2][::7] = 0.0
    return found


def address(x: Tensor) -> int:
    return x.data_ptr() if x.numel() else 0


def label(value: object) -> str:
    return value.name if isinstance(value, Setting) else str(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize(("setting", "name"), [*HYPERS, *((s, None) for s in SETTINGS)], ids=label)
def test_pieces_have_the_digits_of_whole_tensors(
    setting: Setting, name: str | None, dtype: torch.dtype
) -> None:
    """With a product and without; one weight's product comes in another order of memory and is not cut."""
    rule = setting.rule
    w, g, hz, *z = (draw(seed, dtype) for seed in range(4 + len(rule.buffers)))
    hz[4] = hz[4].t().contiguous().t()
    b = [[x.abs() for x in draw(9, dtype)] for _ in rule.buffers]
    for product in (hz, None):
        whole = [[x.clone() for x in part] for part in z]
        rule.piece_tangent_(whole, w, b, g, product, 0.3, 5, 0.5, name)
        rule.tangent_(z, w, b, g, product, 0.3, 5, 0.5, name)
        for cut, expected in zip(z, whole, strict=True):
            for x, y in zip(cut, expected, strict=True):
                torch.testing.assert_close(x, y, rtol=0.0, atol=0.0, equal_nan=True)


def test_every_element_is_in_one_piece() -> None:
    """The same memory in all lists, in pieces of at most ROOM elements but for what cannot be cut."""
    lists = [draw(1), draw(2)]
    lists[1][4] = lists[1][4].t().contiguous().t()
    found = list(pieces.pieces(lists))
    sizes = [sum(x.numel() for x in piece[0]) for piece in found]
    assert max(sizes) == 17 * 41
    assert sorted(sizes)[-2] <= ROOM
    assert len(found) > 10
    for k, tensors in enumerate(lists):
        flat = [x for piece in found for x in piece[k]]
        for x in flat:
            x.add_(100.0)
        assert sum(x.numel() for x in flat) == sum(x.numel() for x in tensors)
        assert all(bool((x > 50).all()) and bool((x < 150).all()) for x in tensors)
    for piece in found:
        assert [x.shape for x in piece[0]] == [x.shape for x in piece[1]]


def test_few_elements_stay_whole_and_threads_widen_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [draw(1), draw(2)]
    count = sum(x.numel() for x in lists[0])
    monkeypatch.setattr(pieces, "PIECE", -(-count // pieces.FEW))
    assert [[address(x) for x in part] for part in next(pieces.pieces(lists))] == [
        [address(x) for x in part] for part in lists
    ]
    monkeypatch.setattr(pieces, "PIECE", 64)
    alone = len(list(pieces.pieces(lists)))
    torch.set_num_threads(2)
    assert len(list(pieces.pieces(lists))) < alone


def test_other_devices_are_not_cut() -> None:
    lists = [[torch.empty(9 * ROOM, 2, device="meta")] for _ in range(2)]
    found = list(pieces.pieces(lists))
    assert len(found) == 1
    assert found[0][1][0] is lists[1][0]


def test_cuts_are_whole_vectors() -> None:
    """No vector instruction takes more than 64 elements."""
    assert pieces.PIECE % 64 == 0
    assert all(
        x.numel() % 64 == 0 for piece in list(pieces.pieces([[torch.zeros(10_000)]]))[:-1] for x in piece[0]
    )
