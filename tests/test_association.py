"""Rank correlations, trends, shares and two lines, beside scipy's own and worked examples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from adatune_lite.report.association import share, spearman, trend, two_lines

RNG = np.random.default_rng(3)
X = RNG.normal(size=20)
Z = RNG.normal(size=20)
Y = 0.8 * Z - 0.5 * X + RNG.normal(size=20)


def test_spearman_is_scipys() -> None:
    ours = spearman(X.tolist(), Y.tolist())
    for side, p in (("less", ours.less), ("greater", ours.greater)):
        theirs = stats.spearmanr(X, Y, alternative=side)
        assert (ours.rho, p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-12)
    assert ours.low < ours.rho < ours.high and ours.n == 20


def test_the_interval_covers_as_often_as_it_says() -> None:
    """500 samples of a normal pair: rho of the population is 6 asin(r / 2) / pi."""
    r, hits = 0.6, 0
    truth = 6 / math.pi * math.asin(r / 2)
    for _ in range(500):
        a, b = RNG.normal(size=(2, 30))
        found = spearman(a.tolist(), (r * a + math.sqrt(1 - r * r) * b).tolist())
        hits += found.low <= truth <= found.high
    # Binomial: 95 % of 500 with a standard deviation of 1 %.
    assert 0.92 <= hits / 500 <= 0.98


def test_the_partial_correlation_is_that_of_residual_ranks() -> None:
    x, y, z = (stats.rankdata(v) for v in (X, Y, Z))
    basis = np.stack([np.ones(20), z], axis=1)
    residuals = [v - basis @ np.linalg.lstsq(basis, v, rcond=None)[0] for v in (x, y)]
    ours = spearman(X.tolist(), Y.tolist(), Z.tolist())
    assert ours.rho == pytest.approx(np.corrcoef(*residuals)[0, 1], rel=1e-10)
    assert ours.rho != pytest.approx(spearman(X.tolist(), Y.tolist()).rho, abs=0.05)
    t = ours.rho * math.sqrt(17 / (1 - ours.rho**2))
    assert ours.less == pytest.approx(stats.t.cdf(t, 17), rel=1e-12)


def test_what_is_constant_or_certain_has_no_interval() -> None:
    flat = spearman([1.0] * 6, list(range(6)))
    assert math.isnan(flat.rho) and flat.less == flat.greater == 1.0
    sure = spearman(list(range(6)), [-v for v in range(6)])
    assert (sure.rho, sure.less, sure.greater) == (pytest.approx(-1), 0.0, 1.0)
    assert math.isnan(spearman([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).low)


def test_a_trend_is_permuted_within_seeds() -> None:
    values = np.array([[1.0, 4.0, 3.0], [12.0, 11.0, 13.0]])
    found = trend((0.1, 0.2, 0.3), values)
    ranks, levels = stats.rankdata(values).reshape(2, 3), np.array([1.5, 3.5, 5.5])
    ours = (ranks * levels).sum()
    sums = [
        (np.array(a) * levels).sum() + (np.array(b) * levels).sum()
        for a in itertools.permutations(ranks[0])
        for b in itertools.permutations(ranks[1])
    ]
    # 10,000 draws: three standard errors are at most 0.015.
    assert found.greater == pytest.approx(np.mean([s >= ours for s in sums]), abs=0.015)
    assert found.less == pytest.approx(np.mean([s <= ours for s in sums]), abs=0.015)
    assert found.rho == pytest.approx(stats.spearmanr([0.1, 0.2, 0.3] * 2, values.ravel()).statistic)
    assert trend((0.1, 0.2), np.ones((4, 2))).greater == 1.0


@pytest.mark.parametrize(("k", "n"), [(0, 20), (1, 20), (19, 20), (20, 20)])
def test_bounds_of_a_share_are_where_the_binomial_says(k: int, n: int) -> None:
    found = share(k, n)
    assert found.value == k / n
    if k < n:
        assert stats.binom.cdf(k, n, found.high) == pytest.approx(0.05)
    if k:
        assert stats.binom.sf(k - 1, n, found.low) == pytest.approx(0.05)


def test_two_lines_are_found_again() -> None:
    x = np.linspace(0, 10, 21)
    y = 1 - 2 * np.minimum(x, 4) - 0.1 * np.maximum(0, x - 4)
    assert two_lines(x, y) == pytest.approx((-2, -0.1, 4))
    with pytest.raises(ValueError, match="two lines need at least 7 points, not 6"):
        two_lines(x[:6], y[:6])
