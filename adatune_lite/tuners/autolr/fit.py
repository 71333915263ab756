"""AutoLR's arithmetic: the parabola through the loss samples, and the rate that it asks for.

Along the step direction d of an optimizer, with eps a change of the rate lr (AutoLR, ICLR 2020 submission,
OpenReview SkgtbaVYvH, equations 1 to 3),

    L(eps) = L(w - (lr + eps) d)  ~  k0 + k1 eps + k2 eps^2,    eps_min = -k1 / (2 k2),    |eps|^3 < r L(0)

The paper prints L(w) in the bound. L(0), the loss after the step at the present rate, is one of the samples,
where L(w) would be a further pass. The bound is not dimensionless and is often far larger than the rate, so
eps obeys |eps| <= reach lr as well: the rate stays positive, and the parabola is used at most reach / spread
half-widths from its centre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SPREAD = 0.2
"""Half-width of the samples in units of the rate, where the trust bound allows it (the paper prints none)."""

REACH = 0.5
"""The most that one decision changes the rate, in units of the rate."""

NOT_FINITE = "a loss is not finite"
"""How the reason of a decision begins that had no finite loss."""

Parabola = tuple[float, float, float]


def trust_bound(lr: float, loss: float, threshold: float | None, reach: float = REACH) -> float:
    """The largest |eps| allowed; 0 where the loss is not positive. threshold: r, None for no trust bound."""
    if threshold is None:
        return reach * lr
    # The inequality is strict: stay a hair inside.
    return min(reach * lr, (1 - 1e-12) * math.cbrt(threshold * max(loss, 0.0)))


def positions(lr: float, bound: float, samples: int, spread: float = SPREAD) -> list[float]:
    """An odd number of values of eps, evenly spaced over +-min(spread lr, bound); the middle one is 0."""
    middle = samples // 2
    return [min(spread * lr, bound) * ((i - middle) / middle) for i in range(samples)]


def fit_parabola(eps: Sequence[float], losses: Sequence[float]) -> Parabola:
    """(k0, k1, k2) by least squares; at least three different values of eps."""
    width, middle = max(map(abs, eps)), losses[len(losses) // 2]
    # In units of the width and of the loss's change: neither a rate of 1e-5 nor a large loss costs digits.
    x, y = np.array(eps) / width, np.array(losses) - middle
    k0, k1, k2 = np.polynomial.polynomial.polyfit(x, y, 2)
    return middle + float(k0), float(k1) / width, float(k2) / width**2


def parabola(fit: Parabola, eps: float) -> float:
    """The parabola at eps."""
    k0, k1, k2 = fit
    return k0 + k1 * eps + k2 * eps**2


def choose(fit: Parabola, low: float, high: float, width: float) -> tuple[float, str]:
    """The eps in [low, high] at which the parabola is lowest, and how it was found.

    width: half-width of the samples. A parabola without minimum (concave, or straight) gives the lower of
    the two ends.
    """
    _, k1, k2 = fit
    if k2 > 0:
        minimum = -k1 / (2 * k2)
        eps = min(high, max(low, minimum))
        if eps != minimum:
            return eps, "minimum out of bounds: the bound"
        return eps, "minimum" if abs(eps) <= width else "minimum beyond the samples"
    return min((low, high), key=lambda eps: parabola(fit, eps)), "no minimum: the lower end"


def propose(
    phase: str, eps: Sequence[float], losses: Sequence[float], low: float, high: float, noise: float
) -> tuple[Parabola | None, float, str]:
    """(parabola, eps of the new rate, reason) from the losses at evenly spaced eps.

    phase: "explore" lets the rate rise alone. low, high: bounds of eps. noise: differences of losses up to
    this one say nothing.
    """
    if not all(map(math.isfinite, losses)):
        return None, 0.0, f"{NOT_FINITE} among the samples"
    if max(losses) - min(losses) <= noise:
        return None, 0.0, "flat: the samples differ by rounding alone"
    fit = fit_parabola(eps, losses)
    move, reason = choose(fit, low, high, eps[-1])
    if phase == "explore" and move < 0:
        return fit, 0.0, f"explore only raises ({reason} is below)"
    return fit, move, reason
