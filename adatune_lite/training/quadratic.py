"""How good a parabola is a model of the loss along a step, from losses on a grid.

All positions are in units of the rate, u = eps / lr (see `line`). The parabola is AutoLR's: least squares
through evenly spaced samples over +-SPREAD.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adatune_lite.tuners.autolr.fit import (
    REACH,
    Parabola,
    choose,
    fit_parabola,
    parabola,
    positions,
    trust_bound,
)

SAMPLES = tuple(positions(1.0, REACH, 5))
"""Where AutoLR's five samples lie; three are its ends and its middle."""

GRID = (
    *(-1.0, -0.5, -0.3, SAMPLES[0], -0.17, -0.13, SAMPLES[1], -0.07, -0.03, 0.0),
    *(0.03, 0.07, SAMPLES[3], 0.13, 0.17, SAMPLES[4], 0.3, 0.5, 1.0, 2.0, 4.0),
)
"""Where `quadratic_fit` measures: from no step at all to five times the rate, the five samples among them."""

FAR = max(GRID)
"""A minimum farther away is not looked up."""

WIDE = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Samples of the expansion in the rate itself, over [0, 2 lr]: what section 2 warns of."""


def minimum(fit: Parabola) -> float:
    """Where the parabola is lowest; NaN where it has no minimum."""
    _, k1, k2 = fit
    return -k1 / (2 * k2) if k2 > 0 else math.nan


def bound(lr: float, loss: float, threshold: float | None) -> float:
    """AutoLR's bound of |u|: `trust_bound` in units of the rate."""
    return trust_bound(lr, loss, threshold) / lr


def move(u: Sequence[float], losses: Sequence[float], most: float) -> float:
    """The change of the rate that AutoLR makes from these samples, in units of the rate: |move| <= most.

    0 where a loss is not finite or no parabola fits.
    """
    if not np.isfinite(losses).all() or most <= 0:
        return 0.0
    return choose(fit_parabola(u, losses), -most, most, max(u))[0]


@dataclass(frozen=True)
class Quality:
    """A parabola against losses that it was not fitted to."""

    fit: Parabola
    r2: float
    """1 - squared residuals / squared deviations from the mean, over the held-out losses within the bound;
    NaN for fewer than 5 of them."""
    radius: float
    """The largest |u| of the grid up to which every loss is within the tolerance, relative; 0 for none."""


def quality(
    losses: Sequence[float],
    most: float,
    *,
    samples: Sequence[float] = SAMPLES,
    tolerance: float = 0.01,
    grid: Sequence[float] = GRID,
) -> Quality:
    """Fit at `samples`, which lie on the grid, and judge by the rest of it.

    losses: L(u) on the grid. most: bound of |u| for r2.
    Losses that are not finite are outside every tolerance, and leave r2 NaN where they lie within the bound;
    among the samples, they leave no parabola.
    """
    u, values = np.array(grid), np.array(losses, np.float64)
    fitted = np.isin(u, samples)
    if not np.isfinite(values[fitted]).all():
        return Quality((math.nan,) * 3, math.nan, 0.0)
    fit = fit_parabola(list(u[fitted]), list(values[fitted]))
    model = np.array([parabola(fit, x) for x in u])
    held = ~fitted & (np.abs(u) <= most)
    r2 = math.nan
    if held.sum() >= 5 and np.isfinite(values[held]).all() and np.ptp(values[held]) > 0:
        residual = ((values[held] - model[held]) ** 2).sum()
        r2 = float(1 - residual / ((values[held] - values[held].mean()) ** 2).sum())
    with np.errstate(invalid="ignore"):
        good = np.isfinite(values) & (np.abs(model - values) <= tolerance * np.abs(values))
    wrong = np.abs(u[~good])
    inside = np.abs(u)[np.abs(u) < (wrong.min() if wrong.size else math.inf)]
    return Quality(fit, r2, float(inside.max()) if inside.size else 0.0)
