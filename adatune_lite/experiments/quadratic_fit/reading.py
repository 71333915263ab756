"""What the records of experiment 03 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from adatune_lite.experiments.autolr_tasks import OPTIMIZERS, SHORT
from adatune_lite.experiments.quadratic_fit.groups import PROFILES, Scale, groups, threshold
from adatune_lite.report.groups import Key, Page
from adatune_lite.report.tables import Row
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.quadratic import GRID, SAMPLES, WIDE, Quality, bound, minimum, move, quality
from adatune_lite.tuners.autolr.fit import parabola

NAME = "03_quadratic_fit"
T = TypeVar("T")


@dataclass(frozen=True)
class Probe:
    """One step of one training; positions in units of its rate (see `quadratic`).

    What follows from its losses is computed when it is asked for: no reader needs all of it.
    """

    step: int
    lr: float
    losses: tuple[float, ...]
    """On GRID."""
    most: float
    """AutoLR's bound of |u|."""
    found: float
    """Where the run found the parabola's minimum."""
    true_minimum: float
    """The true loss there."""

    @cached_property
    def five(self) -> Quality:
        """The parabola through five samples, within 1 %."""
        return quality(self.losses, self.most)

    @property
    def radius_5(self) -> float:
        """Its radius of validity within 5 %."""
        return quality(self.losses, self.most, tolerance=0.05).radius

    @cached_property
    def wide_r2(self) -> float:
        """R^2 over [0, 2 lr] of a parabola in the rate itself; five's over its bound is `five.r2`."""
        return quality(self.losses, 1.0, samples=WIDE).r2

    @cached_property
    def minimum(self) -> float:
        """Where the parabola is lowest; NaN where it has no minimum."""
        return minimum(self.five.fit)

    @property
    def minimum_error(self) -> float:
        """|L - parabola| / L at the predicted minimum; NaN without one, or beyond the grid."""
        there = self.true_minimum
        return abs(there - parabola(self.five.fit, self.found)) / abs(there) if there else math.nan

    @property
    def move(self) -> float:
        """The change of the rate that AutoLR would make."""
        return self._move(SAMPLES)

    @property
    def move_3(self) -> float:
        """The change that it would make from three samples."""
        return self._move(SAMPLES[::2])

    def _move(self, samples: Sequence[float]) -> float:
        return move(samples, [self.losses[GRID.index(u)] for u in samples], self.most)


def probes(record: Record) -> list[Probe]:
    """The probes of a run, in the order of their steps."""
    steps, rates = record.series("probe_lr")
    lows, there = record.series("fit_minimum")[1], record.series("loss_at_minimum")[1]
    places = zip(steps.tolist(), rates.tolist(), lows.tolist(), there.tolist(), strict=True)
    return [_probe(record, *place) for place in places]


def _probe(record: Record, step: int, lr: float, low: float, there: float) -> Probe:
    losses: list[float] = record.series(f"line {step}")[1].tolist()
    middle = losses[GRID.index(0.0)]
    most = bound(lr, middle, threshold(record.spec.task)) if math.isfinite(middle) else 0.0
    return Probe(step, lr, tuple(losses), most, low, there)


@dataclass(frozen=True)
class Fits(Row):
    """Runs that differ in their seed alone, with their probes."""

    probes: Sequence[Sequence[Probe]] = ()
    """Of each run."""

    @property
    def found(self) -> list[Probe]:
        """Those of all runs."""
        return [probe for run in self.probes for probe in run]

    @property
    def optimizer(self) -> str:
        """Its name in a word."""
        return SHORT[self.key[1]]

    @property
    def judged(self) -> int:
        """Probes whose bound holds at least five held-out points; the others have no R^2."""
        return sum(math.isfinite(p.five.r2) for p in self.found)

    def quantile(
        self, of: Callable[[Probe], float], q: float = 0.5, among: Callable[[Probe], bool] = bool
    ) -> float:
        """Of a number of the probes, or of some of them."""
        return quantile([of(p) for p in self.found if among(p)], q)


class Results(Page[Scale]):
    """Records of one profile, by the keys of `groups`."""

    name = NAME
    profiles = PROFILES
    declare = staticmethod(groups)

    @cached_property
    def _probes(self) -> dict[str, list[Probe]]:
        return {record.spec.hash: probes(record) for record in self.all_records()}

    def fits(self, key: Key, records: Sequence[Record]) -> Fits:
        """Some runs under a key with their probes."""
        name = next(iter(self.under(*key).values())).name
        return Fits(key, name, records, probes=[self._probes[r.spec.hash] for r in records])

    @cached_property
    def main(self) -> list[Fits]:
        """The finished runs of the main task, for each optimizer."""
        return [self.fits(("main", o), [r for r in self["main", o] if r.finished]) for o in OPTIMIZERS]

    @cached_property
    def table(self) -> list[Fits]:
        """Every group of runs that has records, those of the main task first.

        Where two have the same runs the first is here; a smaller one of the same runs as a larger one is not.
        """
        # What is said of further tasks is said of all seeds.
        keys = sorted(dict.fromkeys(key[:4] for key in self.groups), key=lambda key: key[0] != "main")
        found: dict[frozenset[str], Key] = {}
        for key in keys:
            specs = frozenset(s.hash for group in self.under(*key).values() for s in group.specs)
            found.setdefault(specs, key)
        largest = [key for specs, key in found.items() if not any(specs < other for other in found)]
        return [self.fits(key, self[key]) for key in largest if self[key]]

    @cached_property
    def examples(self) -> dict[str, tuple[str, Probe]]:
        """One probe of the main task and its optimizer for each case of Figures 1 and 5; by rule, not by eye.

        inside, outside: of those with a minimum among the samples, or beyond them and within the bound, the
        one with the median error there. far: the one whose parabola is wrong by the most on the grid.
        """
        found = [(row.optimizer, probe) for row in self.main for probe in row.found]
        chosen = {
            "inside": _middle([p for p in found if inside(p[1])], lambda p: p[1].minimum_error),
            "outside": _middle([p for p in found if outside(p[1])], lambda p: p[1].minimum_error),
            "far": max(found, key=lambda p: breakdown(p[1]), default=None),
        }
        return {case: example for case, example in chosen.items() if example is not None}

    @cached_property
    def typical(self) -> dict[TaskSpec, dict[str, Probe]]:
        """By task and optimizer, at its seed rate and first seed, the probe with the median R^2."""
        out: dict[TaskSpec, dict[str, Probe]] = {}
        for key in (key for key in self.groups if key[0] == "main" or key[-1] == "first seed"):
            for record in (r for r in self[key] if r.spec.seed == self.scale.seeds[0]):
                if probe := _middle(self._probes[record.spec.hash], lambda p: p.five.r2):
                    out.setdefault(record.spec.task, {})[str(key[1])] = probe
        return out


def inside(probe: Probe) -> bool:
    """Whether the parabola's minimum lies among the samples."""
    return abs(probe.minimum) <= max(SAMPLES)


def outside(probe: Probe) -> bool:
    """Whether it lies beyond them and within the bound."""
    return max(SAMPLES) < abs(probe.minimum) <= probe.most


def breakdown(probe: Probe) -> float:
    """The largest error of the parabola on the grid, relative to the loss there; 0 without a parabola."""
    pairs = [(loss, parabola(probe.five.fit, u)) for u, loss in zip(GRID, probe.losses, strict=True)]
    errors = [abs(model - loss) / abs(loss) for loss, model in pairs if math.isfinite(loss) and loss]
    return max((e for e in errors if math.isfinite(e)), default=0.0)


def _middle(found: Sequence[T], of: Callable[[T], float]) -> T | None:
    """The one with the median of a value, of an even number the lower; those without a value are left out."""
    ordered = sorted((p for p in found if math.isfinite(of(p))), key=of)
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def quantile(values: Iterable[float], q: float) -> float:
    """A quantile of the finite values; NaN where there is none."""
    finite = [v for v in values if math.isfinite(v)]
    return float(np.quantile(finite, q)) if finite else math.nan
