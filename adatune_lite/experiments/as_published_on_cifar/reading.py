"""What the records of experiment 09 say: a pure function of a store, tolerant of runs not made yet.

A training has three accuracies on the test images: `last`, after its last step; `best_validation`, after the
epoch with the best validation accuracy; `best_test`, the highest after any epoch, which is what AdaTune's
scripts report. A diverged run counts as guessing in the first two; the scripts still report the third, of the
epochs before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from adatune_lite.experiments.as_published_on_cifar.groups import PROFILES, Scale, groups
from adatune_lite.report.groups import Page
from adatune_lite.report.statistics import Interval, Paired, mean_interval, paired, sign_flip
from adatune_lite.report.tables import Value, by_seed, signed, values_of
from adatune_lite.runs.record import Record

NAME = "09_as_published"
CLASSES = 10
GUESSING = 100 / CLASSES


def lost(record: Record) -> bool:
    """Whether a run diverged or ended no better than guessing."""
    return not record.finished or record.metrics["validation_loss"] >= math.log(CLASSES)


def last(record: Record) -> float:
    """Test accuracy after the last step, in percent."""
    return record.metrics["test_accuracy"] if record.finished else GUESSING


def best_validation(record: Record) -> float:
    """Test accuracy after the epoch with the best validation accuracy, the first of several, in percent."""
    if not record.finished:
        return GUESSING
    place = int(np.argmax(record.series("validation_accuracy")[1]))
    return float(record.series("test_accuracy")[1][place])


def best_test(record: Record) -> float:
    """The highest test accuracy after any epoch, in percent."""
    return float(max([GUESSING, *record.series("test_accuracy")[1]]))


READINGS: dict[str, Callable[[Record], float]] = {
    "last step": last,
    "best validation epoch": best_validation,
    "best test epoch": best_test,
}


@dataclass(frozen=True)
class Level:
    """An accuracy of an arm: the mean with its interval; where a run is lost the median and how many are."""

    interval: Interval
    middle: float
    runs: int
    lost: int

    @classmethod
    def of(cls, records: Sequence[Record], value: Value) -> Level | None:
        """None without records."""
        values = values_of(records, value)
        if not values:
            return None
        return cls(mean_interval(values), median(values), len(values), sum(map(lost, records)))

    def text(self, digits: int = 2) -> str:
        """As a page writes it."""
        if self.lost:
            return f"median {self.middle:.{digits}f} ({self.lost} of {self.runs} lost)"
        return self.interval.text(digits)


@dataclass(frozen=True)
class Gap:
    """A difference by seed, in points; where a run is lost the median, tested by exact sign flips."""

    pair: Paired
    lost: int
    """Lost runs on either side."""

    @property
    def p(self) -> float:
        """Two-sided."""
        sides = [self.pair.less, self.pair.greater]
        if self.lost:
            sides = [sign_flip([sign * d for d in self.pair.differences]) for sign in (1, -1)]
        return min(1.0, 2 * min(sides))

    def text(self, digits: int = 2) -> str:
        """As a page writes it."""
        if self.lost:
            return f"median {median(self.pair.differences):+.{digits}f}, runs lost: {self.lost}"
        return signed(self.pair.difference, digits)


class Results(Page[Scale]):
    """Records of one profile, by the keys of `groups`."""

    name = NAME
    profiles = PROFILES
    declare = staticmethod(groups)

    def gap(self, *sides: tuple[int, str, Value]) -> Gap | None:
        """The sum of some readings of arms with their signs, by seed; None without a seed that all have.

        sides: (sign, arm, reading).
        """
        records = [self["arm", arm] for _, arm, _ in sides]
        found = [by_seed(held, value) for held, (_, _, value) in zip(records, sides, strict=True)]
        seeds = set.intersection(*map(set, found))
        total = {s: sum(sign * of[s] for (sign, _, _), of in zip(sides, found, strict=True)) for s in seeds}
        pair = paired(total, dict.fromkeys(seeds, 0.0))
        every = {r.spec.hash: r for held in records for r in held if r.spec.seed in seeds}
        return Gap(pair, sum(map(lost, every.values()))) if pair else None
