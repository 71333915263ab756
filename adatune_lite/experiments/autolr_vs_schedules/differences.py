"""One-sided tests of paired differences against 0 or a margin, and which of them the tables ask for."""

from __future__ import annotations

from collections.abc import Callable

from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.report.statistics import Paired, mean_less, tost

Test = Callable[[Paired, float], float]
"""From differences and a margin to a p value."""


def not_worse(pair: Paired, margin: float) -> float:
    """p that the difference is above -margin."""
    return mean_less([-d for d in pair.differences], margin)


def worse(pair: Paired, margin: float) -> float:
    """p that it is below -margin."""
    return mean_less(pair.differences, -margin)


def better(pair: Paired, _: float) -> float:
    """p that it is above 0."""
    return pair.greater


def below(pair: Paired, _: float) -> float:
    """p that it is below 0."""
    return pair.less


def same(pair: Paired, margin: float) -> float:
    """p that it is within ±margin."""
    return tost(pair.differences, margin)


def beyond(pair: Paired, margin: float) -> float:
    """p that it is outside ±margin, corrected for its two sides."""
    return min(1.0, 2 * min(worse(pair, margin), mean_less([-d for d in pair.differences], -margin)))


TESTS: dict[str, dict[str, tuple[Test, Test]]] = {
    "t4": dict.fromkeys(OPTIMIZERS, (not_worse, worse)),
    "t13": {**dict.fromkeys(OPTIMIZERS, (better, below)), "sgd": (same, beyond)},
    "t14": dict.fromkeys(OPTIMIZERS, (better, below)),
}
"""By table and optimizer: the test of AutoLR minus the baseline, and that of the opposite."""
