"""AutoLR's arithmetic, its table of settings and its superbatches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import adatune_lite as al
from adatune_lite.tuners.autolr.fit import choose, fit_parabola, parabola, positions, trust_bound
from adatune_lite.tuners.autolr.settings import TABLE_8


@pytest.mark.parametrize("samples", [3, 5, 7])
@pytest.mark.parametrize("scale", [1e-6, 1.0])
def test_fit_of_a_parabola_is_exact(samples: int, scale: float) -> None:
    eps = positions(scale, math.inf, samples)
    assert len(eps) == samples and eps[samples // 2] == 0.0
    assert eps[0] == -eps[-1] == -0.2 * scale
    fit = fit_parabola(eps, [3.0 - 0.5 * (e / scale) + 0.25 * (e / scale) ** 2 for e in eps])
    assert fit == pytest.approx((3.0, -0.5 / scale, 0.25 / scale**2), rel=1e-9)


def test_fit_is_the_least_squares_one() -> None:
    """Normal equations: the residuals are orthogonal to 1, eps and eps^2."""
    eps = positions(0.1, math.inf, 5)
    losses = [1.0, 1.3, 0.9, 1.1, 1.4]
    fit = fit_parabola(eps, losses)
    residuals = [y - parabola(fit, e) for e, y in zip(eps, losses, strict=True)]
    assert max(map(abs, residuals)) > 0.01
    for power in range(3):
        assert sum(r * (e / 0.02) ** power for r, e in zip(residuals, eps, strict=True)) == pytest.approx(
            0.0, abs=1e-12
        )


def test_trust_bound_is_strict_and_never_reaches_the_rate() -> None:
    assert trust_bound(0.1, 0.5, 5e-3) == 0.05  # the paper's CIFAR-10: (r L)^(1/3) = 0.136 is above the rate
    bound = trust_bound(0.1, 1e-3, 1e-3)
    assert bound == pytest.approx(0.01) and bound**3 < 1e-3 * 1e-3
    assert trust_bound(0.1, 1e-3, None) == 0.05
    assert trust_bound(0.1, 0.0, 1e-3) == trust_bound(0.1, -1.0, 1e-3) == 0.0
    assert positions(0.1, bound, 3) == [-bound, 0.0, bound]


@pytest.mark.parametrize(
    ("k1", "k2", "expected", "words"),
    [
        (-0.02, 1.0, 0.01, "minimum"),
        (-0.06, 1.0, 0.03, "minimum beyond the samples"),
        (-1.0, 1.0, 0.05, "minimum out of bounds: the bound"),
        (1.0, 1.0, -0.04, "minimum out of bounds: the bound"),
        (-0.1, -1.0, 0.05, "no minimum: the lower end"),
        (0.1, -1.0, -0.04, "no minimum: the lower end"),
        (-1.0, 0.0, 0.05, "no minimum: the lower end"),
    ],
)
def test_choice(k1: float, k2: float, expected: float, words: str) -> None:
    eps, reason = choose((1.0, k1, k2), -0.04, 0.05, 0.02)
    assert eps == pytest.approx(expected)
    assert reason == words


@pytest.mark.parametrize(
    ("task", "explore", "saturation", "threshold"),
    [
        ("mnist", 200, 100, 1e-3),
        ("fashion_mnist", 200, 100, 1e-3),
        ("cifar10", 500, 100, 5e-3),
        ("imagenet", 278, 500, 1e-3),
        ("iwslt14", 160, 5, 1e-9),
        ("squad", 225, 2, 1e-12),
    ],
)
def test_settings_are_those_of_table_8(task: str, explore: int, saturation: float, threshold: float) -> None:
    assert set(TABLE_8) == {"mnist", "fashion_mnist", "cifar10", "imagenet", "iwslt14", "squad"}
    found = al.autolr_settings(task, steps=1000)
    assert found == {
        "explore_steps": explore,
        "saturation": saturation,
        "epsilon_threshold": threshold,
        "total_steps": 1000,
    }
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=TABLE_8[task].lr)
    assert al.AutoLR(optimizer, **found).explore_steps == explore


def test_rule_of_thumb_agrees_with_table_8_at_a_rate_of_a_tenth() -> None:
    found = al.autolr_settings(None, steps=1000, lr=0.1)
    assert found["explore_steps"] == 250
    assert found["epsilon_threshold"] == pytest.approx(TABLE_8["mnist"].epsilon_threshold)


@pytest.mark.parametrize(
    ("task", "lr", "words"),
    [("cifar", 0.1, "must be one of mnist,"), (None, None, "seed rate"), (None, -0.1, "seed rate")],
)
def test_bad_settings(task: Any, lr: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        al.autolr_settings(task, steps=10, lr=lr)


@pytest.mark.parametrize("steps", [-5, 0, 2.5, True])
def test_settings_of_a_training_without_steps(steps: Any) -> None:
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1"):
        al.autolr_settings("mnist", steps=steps)


def test_superbatch_is_a_function_of_its_index() -> None:
    first, again, other = (al.superbatch(k, examples=50, batch_size=4, batches=10) for k in (3, 3, 4))
    assert first.shape == (10, 4) and first.dtype is torch.int64
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(first.unique()) == 40 and 0 <= int(first.min()) and int(first.max()) < 50
    assert not torch.equal(first, al.superbatch(3, examples=50, batch_size=4, batches=10, seed=1))
    assert sorted(al.superbatch(0, examples=40, batch_size=4, batches=10).flatten().tolist()) == list(
        range(40)
    )


@pytest.mark.parametrize(("examples", "batch_size"), [(12_799, 128), (50, 0), (0, 1)])
def test_superbatch_larger_than_the_data(examples: int, batch_size: int) -> None:
    with pytest.raises(
        ValueError, match=r"take fewer mini-batches|must be a whole number of at least 1, not 0"
    ):
        al.superbatch(0, examples=examples, batch_size=batch_size)
