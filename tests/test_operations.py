"""Every class of torch.nn and function of torch.nn.functional is exact, or refused by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book"))

from maker import operations

ROWS = {**operations.MODULES, **operations.FUNCTIONS, **operations.OTHERS}
PRESENT = {*operations.classes(), *operations.functions(), *operations.OTHERS}


def test_nothing_that_torch_has_is_left_out() -> None:
    assert operations.unlisted() == []
    assert len(operations.classes()) > 150 and len(operations.functions()) > 120
    assert not set(operations.NONE) & set(ROWS)


@pytest.mark.parametrize("name", [name for name in ROWS if name in PRESENT])
def test_exact_or_refused_by_name(name: str) -> None:
    found = operations.outcome(name, ROWS[name])
    assert found.result in ("exact", "refused"), found.reason
    if found.result == "refused":
        assert operations.reason_of(found) != found.reason


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("Conv2d", "exact"),
        ("BatchNorm2d", "exact"),
        ("GRU", "exact"),
        ("MultiheadAttention", "exact"),
        ("scaled_dot_product_attention", "refused"),
        ("utils.parametrizations.weight_norm", "refused"),
        ("Embedding(scale_grad_by_freq=True)", "refused"),
    ],
)
def test_what_many_use_is_as_the_book_says(name: str, result: str) -> None:
    assert operations.outcome(name, ROWS[name]).result == result


class Doubled(torch.autograd.Function):
    """The identity with twice its gradient, which nothing but differences can tell."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, g: torch.Tensor) -> torch.Tensor:
        return 2 * g


def test_the_scan_can_fail() -> None:
    assert operations.outcome("x", operations.fn(Doubled.apply, (3,))).result == "wrong"


def test_the_table_of_the_book(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: ROWS[name] for name in ("ReLU", "CTCLoss", "Tanh")}
    monkeypatch.setattr(operations, "MODULES", few)
    monkeypatch.setattr(operations, "FUNCTIONS", {"x": operations.fn(Doubled.apply, (3,))})
    monkeypatch.setattr(operations, "OTHERS", {})
    text = operations.markdown()
    assert f"torch {torch.__version__.split('+')[0]}" in text
    assert "| exact (2) | `ReLU`, `Tanh` |" in text
    assert "| refused: torch has no second derivative of it (1) | `CTCLoss` |" in text
    assert "WRONG" in text
    assert ("| settings | `LinearCrossEntropyOptions` |" in text) == hasattr(nn, "LinearCrossEntropyOptions")
