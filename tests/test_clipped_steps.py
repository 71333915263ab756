"""Clipping before the optimizer's step, of the tuners that take no derivative through it, as torch clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import adatune_lite as al
from adatune_lite.tuners import Tuner

RATES = [0.05] * 6
TUNERS: dict[str, Callable[..., Tuner]] = {
    "fixed": lambda o, **clip: al.FixedSchedule(o, RATES, **clip),
    "cycled": lambda o, **clip: al.CycledMomentum(o, RATES, [0.9] * 6, **clip),
    "plateau": lambda o, **clip: al.ReduceOnPlateau(o, 9, **clip),
    "autolr": lambda o, **clip: al.AutoLR(o, 6, window=2, **clip),
}
CLIPS: dict[str, tuple[float, Callable[[Iterable[Tensor], float], object]]] = {
    "clip_grad_norm": (0.5, clip_grad_norm_),
    "clip_grad_value": (0.3, clip_grad_value_),
}


def start() -> tuple[Tensor, torch.optim.Optimizer]:
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    return w, torch.optim.SGD([w], lr=0.05, momentum=0.9)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("kind", TUNERS)
def test_steps_are_those_of_a_clipped_gradient(kind: str, clip: str) -> None:
    """AutoLR explores on a flat superbatch loss, so that its rate stays."""
    bound, by_torch = CLIPS[clip]
    w, optimizer = start()
    tuner = TUNERS[kind](optimizer, **{clip: bound})
    outer = (lambda k: torch.ones(())) if kind == "autolr" else None
    x, mirror = start()
    for _ in RATES:
        tuner.step(lambda: w.square().sum(), outer)
        mirror.zero_grad()
        x.square().sum().backward()
        by_torch([x], bound)
        mirror.step()
        torch.testing.assert_close(w, x, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", TUNERS)
def test_two_kinds_of_clipping_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="give clip_grad_value or clip_grad_norm, not both"):
        TUNERS[kind](start()[1], clip_grad_value=1.0, clip_grad_norm=1.0)


def test_autolr_measures_along_the_clipped_step() -> None:
    """L(eps) = (w - (lr + eps) d)^2 with |d| = 0.5: k2 = 0.25."""
    w = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    tuner = al.AutoLR(torch.optim.SGD([w], lr=0.1), 6, window=1, clip_grad_norm=0.5)
    tuner.step(lambda: w.square().sum(), lambda k: w.square().sum())
    fit = tuner.log[0].fit
    assert fit is not None and fit[2] == pytest.approx(0.25, rel=1e-5)
