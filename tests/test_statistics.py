"""Intervals, paired tests, Holm and equivalence, beside scipy's own and worked examples."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from adatune_lite.report.statistics import holm, mean_interval, mean_less, paired, sign_flip

VALUES = [0.3, -0.1, 0.25, 0.4, 0.05, 0.2]


def test_an_interval_is_students() -> None:
    ours = mean_interval(VALUES)
    low, high = stats.t.interval(0.95, 5, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert (ours.mean, ours.low, ours.high) == pytest.approx((np.mean(VALUES), low, high), rel=1e-12)
    assert mean_interval(VALUES, 0.9).high < high
    assert ours.text(2).split() == ["0.18", "±", "0.19"]


def test_one_value_has_no_interval() -> None:
    ours = mean_interval([2.0])
    assert ours.n == 1 and math.isnan(ours.low) and math.isnan(ours.high)
    assert ours.text() == "2.000"


@pytest.mark.parametrize("bound", [0.0, 0.1, 0.5])
def test_one_sided_p_is_scipys(bound: float) -> None:
    expected = stats.ttest_1samp(VALUES, bound, alternative="less").pvalue
    assert mean_less(VALUES, bound) == pytest.approx(expected, rel=1e-12)


def test_equal_values_are_certain_and_no_difference_is_none() -> None:
    assert mean_less([-0.1] * 3) == 0.0
    assert mean_less([0.1] * 3) == 1.0
    assert mean_less([0.0] * 3) == 1.0
    assert mean_less([-1.0]) == 1.0


def test_pairs_are_by_seed_and_over_common_ones() -> None:
    pair = paired({3: 1.0, 1: 5.0, 2: 2.0, 9: 0.0}, {1: 6.0, 2: 2.0, 3: 3.0, 4: 0.0})
    assert pair is not None
    assert pair.seeds == (1, 2, 3) and pair.differences == (-1.0, 0.0, -2.0)
    assert pair.difference.mean == -1.0
    assert pair.less == pytest.approx(1 - pair.greater)
    assert pair.less < pair.greater
    assert pair.share_not_above == 1.0
    assert paired({1: 0.0}, {2: 0.0}) is None


def test_holm_is_the_worked_example_of_the_method() -> None:
    # ranks: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 lifted to the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_equivalence_needs_both_bounds() -> None:
    near = [0.01, -0.02, 0.015, -0.005, 0.0]

    def tost(differences: list[float], margin: float) -> float:
        pair = paired(dict(enumerate(differences)), dict.fromkeys(range(5), 0.0))
        assert pair is not None
        return pair.within(margin)

    assert tost(near, 0.1) < 0.05
    assert tost(near, 0.005) > 0.05
    below = stats.ttest_1samp(near, 0.1, alternative="less").pvalue
    above = stats.ttest_1samp(near, -0.1, alternative="greater").pvalue
    assert tost(near, 0.1) == pytest.approx(max(below, above))
    assert tost([d + 0.2 for d in near], 0.1) > 0.95, "beyond the margin on one side"
    assert tost([d - 0.2 for d in near], 0.1) > 0.95, "and on the other"


def test_the_sign_flip_test_counts_all_signs() -> None:
    gaps = [-3.0, 1.0, -0.5, -2.0]
    every = [sum(s * d for s, d in zip(signs, gaps, strict=True)) for signs in product((1, -1), repeat=4)]
    assert sign_flip(gaps) == sum(x <= sum(gaps) for x in every) / 16
    assert sign_flip([d + 0.7 for d in gaps], 0.7) == pytest.approx(sign_flip(gaps)), "of a bound"
    assert sign_flip([-1.0] * 5) == 1 / 32 and sign_flip([0.0] * 5) == 1.0
    assert sign_flip([-1.0]) == 1.0
    assert sign_flip([-1.0 - k for k in range(10)]) == 1 / 1024
