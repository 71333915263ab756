"""What the rates of a run look like: rises, falls, and how much they differ between seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adatune_lite.runs.record import Record


def rates(record: Record) -> np.ndarray:
    """The rates of a run over its first one: those that the record keeps."""
    found: np.ndarray = record.series("lr")[1]
    return found / found[0]


def diverged_or_frozen(record: Record) -> bool:
    """Whether a loss was not finite, or the rate fell below a thousandth of the first in the first half."""
    steps, values = record.series("lr")
    early = values[steps < record.spec.steps / 2]
    return record.diverged or bool((early < 1e-3 * float(record.spec.get("lr"))).any())


def spread_of_rates(records: Sequence[Record]) -> float | None:
    """Standard deviation over seeds of the log rate, averaged over time; None for fewer than two runs.

    A rate of 0 counts as a billionth of the first one.
    """
    held = [rates(r) for r in records if r.finished]
    if len(held) < 2:
        return None
    return float(np.log(np.maximum(held, 1e-9)).std(axis=0, ddof=1).mean())


def rises_then_decays(record: Record) -> bool:
    """A rise of more than 2 % that ends in the first 5 % of the budget, then a steady fall."""
    from scipy.stats import spearmanr

    steps, values = record.series("lr")
    top = int(np.argmax(values))
    if values[top] <= 1.02 * float(record.spec.get("lr")) or steps[top] > 0.05 * record.spec.steps:
        return False
    fall = values[top:]
    return len(fall) > 2 and np.ptp(fall) > 0 and float(spearmanr(range(len(fall)), fall).statistic) < -0.95


def never_rises(record: Record) -> bool:
    """No rise of more than 1 %; with SGD hardly any change in the last quarter."""
    steps, values = record.series("lr")
    late = values[steps >= 0.75 * record.spec.steps]
    level = record.spec.optimizer != "sgd" or bool(late.min() >= 0.95 * late.max())
    return bool(rates(record).max() <= 1.01) and level
