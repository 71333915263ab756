"""Endless batches of a loader: every pass whole and in a new order, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import adatune_lite as al


def test_every_pass_has_each_example_once_in_an_order_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(TensorDataset(torch.arange(12)), batch_size=4, shuffle=True, generator=generator)
    batches = [x.tolist() for (x,) in islice(al.cycle(loader), 9)]
    passes = [[x for batch in batches[i : i + 3] for x in batch] for i in (0, 3, 6)]
    assert [sorted(x) for x in passes] == [list(range(12))] * 3
    assert len({tuple(x) for x in passes}) == 3


def test_nothing_is_read_before_it_is_asked_for() -> None:
    read = []

    class Watched:
        def __iter__(self) -> Iterator[int]:
            for i in range(3):
                read.append(i)
                yield i

    batches = al.cycle(Watched())
    assert read == []
    assert [next(batches) for _ in range(4)] == [0, 1, 2, 0] and read == [0, 1, 2, 0]


def test_what_ends_after_one_pass_is_refused() -> None:
    loader = DataLoader(TensorDataset(torch.arange(4)))
    for single in ((x for x in "ab"), iter([1, 2]), iter(loader), 3):
        with pytest.raises(ValueError, match=r"again and again, not .*: give the DataLoader"):
            al.cycle(single)  # type: ignore[arg-type]

    class Once:
        def __init__(self) -> None:
            self.left = iter([1, 2])

        def __iter__(self) -> Iterator[int]:
            return self.left

    batches = al.cycle(Once())
    assert (next(batches), next(batches)) == (1, 2)
    with pytest.raises(ValueError, match="Once gave nothing in a second pass"):
        next(batches)


def test_an_empty_loader_is_refused() -> None:
    class Nothing(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(())

    for empty in ([], DataLoader(TensorDataset(torch.arange(3)), batch_size=4, drop_last=True)):
        with pytest.raises(ValueError, match="has none: see its data, batch_size and drop_last"):
            al.cycle(empty)
    with pytest.raises(ValueError, match="DataLoader has none"):
        next(al.cycle(DataLoader(Nothing())))
