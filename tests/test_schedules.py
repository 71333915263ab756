"""Fixed schedules against their formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from adatune_lite.schedules import SCHEDULES, schedule


def expect(found: Tensor, values: list[float]) -> None:
    assert found.dtype is torch.float64
    torch.testing.assert_close(found, torch.tensor(values, dtype=torch.float64), rtol=1e-9, atol=1e-15)


def test_constant() -> None:
    expect(schedule("constant", 7, 0.3), [0.3] * 7)


def test_exponential_ends_at_the_given_fraction() -> None:
    expect(schedule("exponential", 5, 0.2, final=0.01), [0.2 * 0.01 ** (t / 4) for t in range(5)])
    expect(schedule("exponential", 3, 0.2), [0.2, 0.2 * 0.1**0.5, 0.02])


def test_staircase_drops_at_its_milestones() -> None:
    expect(schedule("staircase", 6, 1.0), [1, 1, 0.1, 0.1, 0.01, 0.01])
    expect(schedule("staircase", 4, 1.0, factor=0.5, milestones=(0.75,)), [1, 1, 1, 0.5])


def test_cosine() -> None:
    expect(schedule("cosine", 8, 0.4), [0.2 * (1 + math.cos(math.pi * t / 8)) for t in range(8)])


def test_one_cycle() -> None:
    found = schedule("one_cycle", 101, 0.5)
    assert int(found.argmax()) in (29, 30)
    assert float(found.max()) == pytest.approx(0.5, rel=1e-2)
    expect(found[[0, -1]], [0.5 / 25, 0.5 / 250_000])
    peak = int(found.argmax())
    assert (found[: peak + 1].diff() > 0).all()
    assert (found[peak:].diff() < 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 512])
def test_any_length(name: str, steps: int) -> None:
    found = schedule(name, steps, 0.1)
    assert found.shape == (steps,)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert float(found.max()) <= 0.1 * (1 + 1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("linear", 5, 0.1), {}, "constant, exponential, staircase, cosine, one_cycle"),
        (("cosine", 0, 0.1), {}, "steps"),
        (("cosine", True, 0.1), {}, "steps"),
        (("cosine", 5, 0.0), {}, "lr must be finite and above 0"),
        (("cosine", 5, math.nan), {}, "lr"),
        (("exponential", 5, 0.1), {"final": -1.0}, "final"),
        (("staircase", 5, 0.1), {"factor": math.inf}, "factor"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedule(*arguments, **options)
