"""Means with intervals, paired t-tests and exact sign-flip tests, through scipy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval over seeds (Student's t); NaN bounds for fewer than two values."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def bars(self) -> list[list[float]] | None:
        """How far it reaches below and above the mean, for figures; None for fewer than two values."""
        return [[self.mean - self.low], [self.high - self.mean]] if self.n > 1 else None

    def text(self, digits: int = 3) -> str:
        """Mean and half-width, for tables."""
        if self.n < 2:
            return f"{self.mean:.{digits}f}"
        half = (self.high - self.low) / 2
        return f"{self.mean:.{digits}f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{half:.{digits}f}"


@dataclass(frozen=True)
class Paired:
    """Two methods compared over the seeds that both have: differences a - b and one-sided paired tests.

    The t-test; where a run counts as lost, the exact sign-flip test.
    """

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    difference: Interval
    less: float
    """p of the test that the mean difference is below 0."""
    greater: float
    """p of the test that it is above 0."""
    exact: bool = False
    """Whether a run counts as lost: then neither mean nor interval of the differences means anything."""

    @property
    def median(self) -> float:
        """Of the differences."""
        return float(np.median(self.differences))

    @property
    def numbers(self) -> Sequence[float]:
        """The differences."""
        return self.differences

    @property
    def middle(self) -> float:
        """What a figure marks: the mean, or the median where a run counts as lost."""
        return self.median if self.exact else self.difference.mean

    @property
    def bars(self) -> list[list[float]] | None:
        """The interval as a figure draws it, if there is one."""
        return None if self.exact else self.difference.bars

    def below(self, bound: float) -> float:
        """One-sided p of the test that the difference is below a bound."""
        return (sign_flip if self.exact else mean_less)(self.differences, bound)

    def above(self, bound: float) -> float:
        """One-sided p of the test that it is above."""
        return (sign_flip if self.exact else mean_less)([-d for d in self.differences], -bound)

    def within(self, margin: float) -> float:
        """p of the two one-sided tests that it lies within ±`margin` (equivalence)."""
        return max(self.below(margin), self.above(-margin))

    @property
    def share_not_above(self) -> float:
        """Share of seeds with a <= b."""
        return sum(d <= 0 for d in self.differences) / len(self.differences)


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean and Student-t interval of independent values."""
    from scipy import stats

    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, math.nan, math.nan, len(array))
    half = float(stats.t.ppf(0.5 + level / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return Interval(mean, mean - half, mean + half, len(array))


def mean_less(values: Sequence[float], bound: float = 0.0) -> float:
    """One-sided p of the t-test that the mean of `values` is below `bound`; 1 for fewer than two values."""
    from scipy import stats

    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return 1.0
    gap = float(array.mean()) - bound
    # Equal values have no spread to compare the gap with: it is certain, up to the rounding of the mean.
    if np.ptp(array) == 0:
        return 0.0 if array[0] < bound else 1.0
    return float(stats.t.cdf(gap / (array.std(ddof=1) / math.sqrt(len(array))), len(array) - 1))


def sign_flip(values: Sequence[float], bound: float = 0.0) -> float:
    """One-sided p of the test that values lie below `bound`: over all signs of what they differ from it.

    Exact for up to 16 values; n of them cannot bring it below 2^-n.
    """
    from scipy import stats

    gaps = np.asarray(values, np.float64) - bound
    if len(gaps) < 2:
        return 1.0
    found = stats.permutation_test(
        (gaps,),
        lambda x, axis: x.sum(axis),
        permutation_type="samples",
        alternative="less",
        n_resamples=2**16,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


class BySeed(dict[int, float]):
    """Values by seed; of lost runs what they count as."""

    lost: frozenset[int] = frozenset()
    """Their seeds."""


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Paired | None:
    """Compare two methods' values by seed; None without a common seed.

    By t-tests; by exact ones where they are `BySeed` of which a common seed is lost.
    """
    seeds = tuple(sorted(a.keys() & b.keys()))
    if not seeds:
        return None
    differences = tuple(a[s] - b[s] for s in seeds)
    lost = {s for side in (a, b) if isinstance(side, BySeed) for s in side.lost}
    test = sign_flip if (exact := bool(lost & set(seeds))) else mean_less
    less, greater = test(differences), test([-d for d in differences])
    return Paired(seeds, differences, mean_interval(differences), less, greater, exact)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    order = np.argsort(p_values)
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def holm_both_ways(p_values: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Holm's adjusted p of tests by name, each beside that of its opposite: one family in each direction."""
    sides = [holm([pair[k] for pair in p_values.values()]) for k in (0, 1)]
    return dict(zip(p_values, zip(*sides, strict=True), strict=True))
