"""What the records of experiment 04 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np

from adatune_lite.experiments.autolr_tasks import SHORT
from adatune_lite.experiments.superbatch.groups import ALIKE, NEAR, PROFILES, Scale, groups, task_name
from adatune_lite.report.groups import Page
from adatune_lite.report.tables import Row
from adatune_lite.runs.record import Record
from adatune_lite.training.probes import SIZES
from adatune_lite.training.quadratic import bound

NAME = "04_superbatch"


@dataclass(frozen=True)
class Measured(Row):
    """The finished runs of one optimizer on one task."""

    @property
    def task(self) -> str:
        """The task in a few words."""
        return task_name(self.records[0].spec.task)

    @property
    def optimizer(self) -> str:
        """Its name in a word."""
        return SHORT[self.key[-1]]

    @cached_property
    def cells(self) -> list[Cell]:
        """Every size that is compared."""
        return [Cell(self.key, self.name, self.records, size=s) for s in sizes(self.records[0])]

    def smallest(self, samples: int) -> Cell | None:
        """The smallest superbatch from which on all decide as the reference does."""
        alike = takewhile(lambda cell: cell.alike(samples), reversed(self.cells))
        return next(iter([*alike][::-1]), None)


@dataclass(frozen=True)
class Cell(Measured):
    """One size of the superbatch.

    Shares and distances are told by their means: at most probes the bounds make two moves the same.
    """

    size: int = 1

    def mean(self, name: str) -> float:
        """Of a series of this size, over all probes."""
        return float(values(self.records, name, self.size).mean())

    def median(self, name: str) -> float:
        """Of its finite values."""
        return median(values(self.records, name, self.size))

    @property
    def spread(self) -> np.ndarray:
        """Of the loss, relative."""
        return spread(self.records, self.size)

    def alike(self, samples: int) -> bool:
        """Whether it decides as the reference does."""
        return self.mean(f"agree_{samples}") >= ALIKE and self.mean(f"error_{samples}") <= NEAR


class Results(Page[Scale]):
    """Records of one profile, by the keys of `groups`."""

    name = NAME
    profiles = PROFILES
    declare = staticmethod(groups)

    @cached_property
    def measured(self) -> list[Measured]:
        """Every task and optimizer that has finished runs."""
        finished = {key: [r for r in self[key] if r.finished] for key in self.groups}
        return [Measured(key, self.groups[key].name, held) for key, held in finished.items() if held]

    @cached_property
    def by_task(self) -> dict[str, list[Measured]]:
        """The same by task."""
        return {row.task: [r for r in self.measured if r.task == row.task] for row in self.measured}


def sizes(record: Record) -> list[int]:
    """The superbatches that a run compares, in mini-batches."""
    return [size for size in SIZES if 2 * size <= int(record.spec.get("superbatch"))]


def values(records: Sequence[Record], name: str, size: int) -> np.ndarray:
    """A series of one size, one value a probe."""
    return np.concatenate([r.series(f"{name} {size}")[1] for r in records])


def spread(records: Sequence[Record], size: int) -> np.ndarray:
    """Standard deviation over the draws of the loss of a superbatch, over the loss; one value a probe."""
    return values(records, "loss_std", size) / np.concatenate([r.series("loss")[1] for r in records])


def counted(records: Sequence[Record]) -> float:
    """Cost of one sample of one mini-batch in training steps, as the runs counted it; NaN without runs.

    A run looks at its mini-batches at 5 samples of every probe. Training books each look as a third of a
    step, so that anything but a third means looks that were missed or counted twice; it is no time.
    """
    passes = [5 * int(r.spec.get("superbatch")) * int(r.spec.get("probes")) for r in records if r.finished]
    looks = [r.cost["look_steps"] for r in records if r.finished]
    return sum(looks) / sum(passes) if passes else math.nan


def at_bound(record: Record) -> np.ndarray:
    """By probe: whether the reference's move is AutoLR's bound, up or down."""
    threshold = record.spec.get("epsilon_threshold") or None
    lrs, losses, moves = (record.series(name)[1] for name in ("probe_lr", "loss", "move"))
    most = [bound(lr, loss, threshold) for lr, loss in zip(lrs, losses, strict=True)]
    return np.isclose(np.abs(moves), most, rtol=1e-6)  # Records keep 9 digits.


def slope(record: Record, of: Sequence[int] = (), *, corrected: bool = True) -> float:
    """Slope of the log of the loss's spread against the log of the size, mean over probes.

    Sizes that are a large part of the mini-batches measured fall faster, since none is drawn twice.
    of: some of the sizes. corrected: their spread is divided by sqrt(1 - size / measured); then it is -1/2
    for independent mini-batches.
    """
    of = of or sizes(record)
    measured = int(record.spec.get("superbatch"))
    shares = [1 - s / measured if corrected else 1.0 for s in of]
    spreads = [record.series(f"loss_std {s}")[1] / math.sqrt(x) for s, x in zip(of, shares, strict=True)]
    logs = np.log(np.array(spreads))
    return float(np.polynomial.polynomial.polyfit(np.log(of), logs.mean(1), 1)[1])


def median(values: np.ndarray) -> float:
    """The median of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan
