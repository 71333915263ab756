"""What is read of runs on CIFAR: curves on an axis of the training's share, and how they end."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from adatune_lite.experiments.cifar_published import Curve
from adatune_lite.report.tables import Value
from adatune_lite.runs.record import Record
from adatune_lite.tasks.sources import known

OURS = {"accuracy": "test_accuracy", "loss": "validation_loss", "lr": "lr"}
"""Series of records that stand for the published quantities."""


def curve(record: Record, quantity: str) -> Curve:
    """One run on the axis of the published curves."""
    steps, values = record.series(OURS[quantity])
    # A rate is that of the step which begins there; looks count the steps done.
    return steps / record.spec.steps, values


def accuracy_at(record: Record, share: float) -> float | None:
    """Test accuracy at the last look up to a share of the budget; None before the first one, or never."""
    shares, values = curve(record, "accuracy")
    place = int(np.searchsorted(shares, share + 1e-9, side="right")) - 1
    reached = len(shares) and shares[-1] >= share - 1e-9
    return float(values[place]) if place >= 0 and reached else None


def accuracy_of(share: float) -> Value:
    """`accuracy_at` a share of the budget as a number of a run."""
    return lambda record: accuracy_at(record, share)


def _final(name: str, guessed: Callable[[int], float]) -> Value:
    """A metric of a run; one that diverged has that of guessing."""

    def value(record: Record) -> float:
        classes = known(record.spec.task.dataset).classes
        return record.metrics[name] if record.finished else guessed(classes)

    return value


final_accuracy = _final("test_accuracy", lambda classes: 100 / classes)
final_loss = _final("test_loss", math.log)


def sgdr_cycles(record: Record) -> np.ndarray:
    """Shares of the budget at which SGDR begins and restarts: its periods are whole numbers of steps."""
    first = round(float(record.spec.get("period")) * record.spec.steps)
    return first * np.array([0, 1, 3, 7, 15]) / record.spec.steps


def earliest_peak(record: Record) -> float | None:
    """Where in its cycle accuracy is highest, from 0 to 1: the least of all cycles; the last look is 1."""
    shares, values = curve(record, "accuracy")
    places = []
    for start, end in pairwise(sgdr_cycles(record)):
        inside = np.flatnonzero((shares > start + 1e-9) & (shares <= end + 1e-9))
        if len(inside):
            best = inside[np.argmax(values[inside])]
            places.append(1.0 if best == inside[-1] else float((shares[best] - start) / (end - start)))
    return min(places) if len(places) == 4 else None
