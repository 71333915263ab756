"""The best checkpoint is chosen by the validation part alone."""

from __future__ import annotations

import numpy as np
import pytest

from adatune_lite.report.incumbent import incumbent


def test_the_test_figure_follows_the_best_validation() -> None:
    found = incumbent([50, 70, 60, 70, 80], [40, 65, 99, 90, 60])
    assert found.tolist() == [40, 65, 65, 65, 60]


def test_the_test_figures_have_no_say() -> None:
    rng = np.random.default_rng(0)
    validation, test = rng.integers(0, 20, 50), rng.permutation(50)
    place = [int(np.argmax(validation[: k + 1])) for k in range(50)]
    assert np.array_equal(incumbent(validation, test), test[place])


def test_what_is_not_finite_is_never_chosen() -> None:
    assert np.array_equal(incumbent([np.nan, 3, np.inf], [1, 2, 3]), [np.nan, 2, 2], equal_nan=True)
    assert incumbent([], []).shape == (0,)


def test_figures_of_other_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="must be observed together"):
        incumbent([1, 2], [1])
