"""The best checkpoint so far, chosen by the validation part alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def incumbent(validation: Sequence[float] | np.ndarray, test: Sequence[float] | np.ndarray) -> np.ndarray:
    """At each observation the test figure of that with the best validation accuracy so far: float64 [n].

    validation, test: accuracies at the same observations of one training, or of several one after another. Of
    equal ones the first stays: the test figure has no say. NaN as long as there is no finite validation.

    Raises ValueError where they have other lengths.
    """
    seen, shown = np.asarray(validation, dtype=float), np.asarray(test, dtype=float)
    if seen.shape != shown.shape or seen.ndim != 1:
        raise ValueError(
            f"validation and test must be observed together, not {seen.shape} and {shown.shape} times"
        )
    best, found, out = -np.inf, np.nan, np.empty_like(shown)
    for k, (value, figure) in enumerate(zip(seen, shown, strict=True)):
        if np.isfinite(value) and value > best:
            best, found = value, figure
        out[k] = found
    return out
