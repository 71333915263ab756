"""What the judging of AutoLR's claims asks of statistics: rank correlations, shares, two straight lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Correlation:
    """A rank correlation of n pairs; NaN where a side is constant or there are too few pairs."""

    rho: float
    low: float
    high: float
    """95 % interval by Fisher's z with the variance 1.06 / (n - 3) (Fieller, Hartley, Pearson 1957)."""
    less: float
    """p of the test that it is below 0, by Student's t."""
    greater: float
    n: int


def spearman(x: Sequence[float], y: Sequence[float], given: Sequence[float] | None = None) -> Correlation:
    """Spearman's rho of x and y; with `given`, the partial one: with the ranks of `given` held fixed."""
    rho, lost = _rho(x, y), 0
    if given is not None:
        a, b = _rho(x, given), _rho(y, given)
        room = (1 - a * a) * (1 - b * b)
        rho, lost = (rho - a * b) / math.sqrt(room) if room > 0 else math.nan, 1
    return _correlation(rho, len(x), lost)


def _correlation(rho: float, n: int, lost: int) -> Correlation:
    from scipy import stats

    freedom = n - 2 - lost
    if math.isnan(rho) or freedom < 2:
        return Correlation(rho, math.nan, math.nan, 1.0, 1.0, n)
    if abs(rho) >= 1:
        return Correlation(rho, rho, rho, float(rho > 0), float(rho < 0), n)
    t = rho * math.sqrt(freedom / (1 - rho * rho))
    half = 1.96 * math.sqrt(1.06 / (freedom - 1))
    low, high = math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
    return Correlation(rho, low, high, float(stats.t.cdf(t, freedom)), float(stats.t.sf(t, freedom)), n)


def _rho(x: Sequence[float], y: Sequence[float]) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


@dataclass(frozen=True)
class Trend:
    """A rank correlation, tested by permutation."""

    rho: float
    greater: float
    """p of the test that values rise with the level."""
    less: float


def kendall(x: Sequence[float], y: Sequence[float]) -> Trend:
    """Kendall's tau of a few pairs, with the exact p values."""
    from scipy.stats import kendalltau

    sides = (float(kendalltau(x, y, alternative=side).pvalue) for side in ("greater", "less"))
    return Trend(float(kendalltau(x, y).statistic), *sides)


def tau_of_order(means: np.ndarray) -> np.ndarray:
    """Kendall's tau [n] of rows [n, columns] with the order of the columns, the largest first."""
    first, second = np.triu_indices(means.shape[1], 1)
    found: np.ndarray = np.sign(means[:, first] - means[:, second]).mean(1).round(12)
    return found


def exact_spearman(x: Sequence[float], y: Sequence[float]) -> Trend:
    """Spearman's rho of a few pairs; the p values are over all orders."""
    from scipy import stats

    a, b = stats.rankdata(x), stats.rankdata(y)

    def rho(ranks: np.ndarray) -> float:
        return float(np.corrcoef(ranks, b)[0, 1])

    def p(side: str) -> float:
        found = stats.permutation_test(
            (a,), rho, permutation_type="pairings", alternative=side, n_resamples=math.inf
        )
        return float(found.pvalue)

    return Trend(rho(a), p("greater"), p("less"))


def trend(levels: Sequence[float], values: np.ndarray) -> Trend:
    """Whether `values` [seeds, levels] rise with the level.

    The runs of a seed share weights and batches: the p values permute the levels within each seed.
    """
    from scipy.stats import rankdata

    values = np.asarray(values, np.float64)
    places = np.broadcast_to(levels, values.shape)
    rho = _rho(places.ravel().tolist(), values.ravel().tolist())
    if math.isnan(rho):
        return Trend(rho, 1.0, 1.0)
    ranks = rankdata(values).reshape(values.shape)
    level_ranks = rankdata(places).reshape(values.shape)
    draws = np.broadcast_to(ranks, (PERMUTATIONS, *ranks.shape))
    shuffled = np.random.default_rng(0).permuted(draws, axis=2)
    # Within seeds the ranks stay the same: rho rises with this sum alone. Halves of ranks add up exactly.
    sums, ours = (shuffled * level_ranks).sum((1, 2)), (ranks * level_ranks).sum()
    greater, less = ((1 + found.sum()) / (1 + PERMUTATIONS) for found in (sums >= ours, sums <= ours))
    return Trend(rho, float(greater), float(less))


@dataclass(frozen=True)
class Share:
    """k of n with one-sided 95 % bounds (Clopper and Pearson)."""

    k: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """k / n."""
        return self.k / self.n


def share(k: int, n: int) -> Share:
    """The share k of n >= 1 and what bounds it from below and from above."""
    from scipy.stats import binomtest

    low = binomtest(k, n, alternative="greater").proportion_ci(0.95, method="exact").low
    high = binomtest(k, n, alternative="less").proportion_ci(0.95, method="exact").high
    return Share(k, n, float(low), float(high))


def drawn_again(table: np.ndarray, draws: int = 10_000) -> np.ndarray:
    """Means [draws, columns] of `table` [seeds, columns], its seeds drawn anew with repetition."""
    chosen = np.random.default_rng(0).integers(len(table), size=(draws, len(table)))
    return table[chosen].mean(1)


def sooner(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """One-sided p of the log-rank test that `ours` come sooner; inf: never, censored at the budget."""
    from scipy.stats import CensoredData, logrank

    sides = [
        CensoredData([t for t in times if t < math.inf], right=[1.0 for t in times if t == math.inf])
        for times in (ours, theirs)
    ]
    if not any(t < math.inf for t in (*ours, *theirs)) or sorted(ours) == sorted(theirs):
        return 1.0
    return float(logrank(*sides, alternative="greater").pvalue)


def two_lines(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Slopes before and after the break, and the break, of the best continuous pair of straight lines.

    The break is one of x, with at least three points on each side. Raises ValueError for fewer than seven.
    """
    if len(x) < 7:
        raise ValueError(f"two lines need at least 7 points, not {len(x)}")
    fits = []
    for place in x[3:-3]:
        basis = np.stack([np.ones_like(x, np.float64), x, np.maximum(0, x - place)], axis=1)
        found = np.linalg.lstsq(basis, y, rcond=None)[0]
        fits.append((float(((basis @ found - y) ** 2).sum()), found[1], found[1] + found[2], place))
    _, first, second, place = min(fits)
    return float(first), float(second), float(place)
