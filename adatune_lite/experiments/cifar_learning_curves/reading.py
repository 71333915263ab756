"""What the records of experiment 07 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from adatune_lite.experiments.cifar_learning_curves.groups import PROFILES, Scale, groups
from adatune_lite.experiments.cifar_published import Curve, published
from adatune_lite.report.groups import Page
from adatune_lite.report.tables import Value
from adatune_lite.runs.record import Record
from adatune_lite.tasks.sources import known

NAME = "07_cifar_learning_curves"


class Results(Page[Scale]):
    """Records of one profile, by the keys of `groups`."""

    name = NAME
    profiles = PROFILES
    declare = staticmethod(groups)

    def printed_rate(self, task: str, row: str, which: str) -> float | None:
        """The highest or the last rate of a published curve over the published first rate."""
        found = published().get((task, row, "lr"))
        first = self.scale.budgets[task].setup.lr
        return (
            None if found is None else float(found[1].max() if which == "highest" else found[1][-1]) / first
        )


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


def _final(name: str, guessed: Callable[[int], float]) -> Value:
    """A metric of a run; one that diverged has that of guessing."""

    def value(record: Record) -> float:
        classes = known(record.spec.task.dataset).classes
        return record.metrics[name] if record.finished else guessed(classes)

    return value


final_accuracy = _final("test_accuracy", lambda classes: 100 / classes)
final_loss = _final("test_loss", math.log)


def rates(record: Record) -> np.ndarray:
    """The rates of a run over its first one: those that the record keeps."""
    found: np.ndarray = record.series("lr")[1]
    return found / found[0]
