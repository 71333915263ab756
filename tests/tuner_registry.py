"""Every public tuner, registered once: the contracts of the test modules run through this list.

`test_tuners_every_rule` asks that none is missing, and holds hypergradients to finite differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

import adatune_lite as al
from adatune_lite.tuners import Tuner

STEPS = 20
"""The longest run of a schedule below."""
RATES = [0.01 * (t + 1) for t in range(STEPS)]
MOMENTA = [0.9 - 0.04 * t for t in range(STEPS)]


@dataclass(frozen=True)
class Kind:
    """One way to use a tuner, called with the optimizer."""

    make: Callable[..., Tuner]
    """Of the optimizer, hyper_lr and further options."""
    outer: bool = True
    """Whether its steps are given an outer loss."""
    differences: bool = False
    """Whether its hypergradient is defined at every step, by the optimizer's rule alone (no clipping)."""
    many: bool = False
    """Whether values other than the rate may be tuned."""

    def __call__(self, optimizer: torch.optim.Optimizer, hyper_lr: float = 1e-3, **options: Any) -> Tuner:
        return self.make(optimizer, hyper_lr, **options)


def _many(optimizer: torch.optim.Optimizer, hyper_lr: float) -> Tuner:
    return al.MARTHE(optimizer, 0.9, hyper_lr, tune=("lr", "weight_decay"), clip_grad_norm=1.0)


def _adaptive(optimizer: torch.optim.Optimizer, hyper_lr: float, **options: Any) -> Tuner:
    return al.MARTHE(optimizer, "adaptive", "adaptive", alpha=1e-3 * hyper_lr, **options)


def _hd_multiplicative(optimizer: torch.optim.Optimizer, hyper_lr: float, **options: Any) -> Tuner:
    return al.HD(optimizer, hyper_lr, multiplicative=True, **options)


def _autolr(optimizer: torch.optim.Optimizer, hyper_lr: float, **options: Any) -> Tuner:
    return al.AutoLR(optimizer, 2, window=2, saturation=None, **options)


def _plateau(optimizer: torch.optim.Optimizer, hyper_lr: float, *, every: int = 2, **options: Any) -> Tuner:
    return al.ReduceOnPlateau(optimizer, every, patience=0, factor=0.5, **options)


TUNERS: Mapping[str, Kind] = {
    "marthe": Kind(lambda o, h, **k: al.MARTHE(o, 0.9, h, **k), differences=True, many=True),
    "rtho": Kind(lambda o, h, **k: al.RTHO(o, h, **k), differences=True, many=True),
    "rtho_every_2": Kind(lambda o, h: al.RTHO(o, h, every=2)),
    "many": Kind(_many),
    "adaptive": Kind(_adaptive, differences=True),
    "adaptive_mu": Kind(lambda o, h, **k: al.MARTHE(o, "adaptive", h, **k), differences=True),
    "hd_outer": Kind(lambda o, h, **k: al.HD(o, h, **k), differences=True, many=True),
    "hd": Kind(lambda o, h, **k: al.HD(o, h, **k), outer=False, differences=True, many=True),
    "hd_multiplicative": Kind(_hd_multiplicative, outer=False, differences=True, many=True),
    "fixed": Kind(lambda o, h: al.FixedSchedule(o, RATES), outer=False),
    "autolr": Kind(_autolr),
    "plateau": Kind(_plateau),
    "cycled": Kind(lambda o, h: al.CycledMomentum(o, RATES, MOMENTA), outer=False),
}
