"""What the records of experiment 03 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adatune_lite.experiments import quadratic_fit as experiment
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.quadratic import (
    GRID,
    SAMPLES,
    WIDE,
    Quality,
    bound,
    minimum,
    move,
    quality,
)
from adatune_lite.experiments.quadratic_fit import THRESHOLD, Scale
from adatune_lite.experiments.search import Reader
from adatune_lite.runs.record import Record
from adatune_lite.runs.spec import RunSpec
from adatune_lite.tuners.autolr_fit import parabola


@dataclass(frozen=True)
class Probe:
    """One step of one training; positions in units of its rate (see `quadratic`)."""

    step: int
    lr: float
    losses: tuple[float, ...]
    """On GRID."""
    most: float
    """AutoLR's bound of |u|."""
    five: Quality
    """The parabola through five samples, within 1 %."""
    radius_5: float
    """Its radius of validity within 5 %."""
    wide_r2: float
    """R^2 over [0, 2 lr] of a parabola in the rate itself; five's over its bound is `five.r2`."""
    minimum: float
    minimum_error: float
    """|L - parabola| / L at the predicted minimum; NaN without one, or beyond the grid."""
    move: float
    """The change of the rate that AutoLR would make; move_3 from three samples."""
    move_3: float


def probes(record: Record) -> list[Probe]:
    """The probes of a run, in the order of their steps."""
    steps, rates = record.series("probe_lr")
    lows, there = record.series("fit_minimum")[1], record.series("loss_at_minimum")[1]
    found = []
    for k, step in enumerate(steps):
        losses: list[float] = record.series(f"line {step}")[1].tolist()
        middle = losses[GRID.index(0.0)]
        most = bound(float(rates[k]), middle, THRESHOLD) if math.isfinite(middle) else 0.0
        five = quality(losses, most)
        sampled = [losses[GRID.index(u)] for u in SAMPLES]
        predicted = parabola(five.fit, float(lows[k]))
        found.append(
            Probe(
                int(step),
                float(rates[k]),
                tuple(losses),
                most,
                five,
                quality(losses, most, tolerance=0.05).radius,
                quality(losses, 1.0, samples=WIDE).r2,
                minimum(five.fit),
                abs(float(there[k]) - predicted) / abs(float(there[k])) if there[k] else math.nan,
                move(SAMPLES, sampled, most),
                move(SAMPLES[::2], sampled[::2], most),
            )
        )
    return found


@dataclass(frozen=True)
class Row:
    """The probes of some runs that differ in their seed alone, in medians and low quantiles."""

    dataset: str
    model: str
    optimizer: str
    lr: float
    runs: int
    diverged: int
    probes: int
    r2: float
    r2_tenth: float
    """Its 10 % quantile."""
    judged: int
    """Probes whose bound holds at least five held-out points; the others have no R^2."""
    wide_r2: float
    inside_error: float
    """Median error at minima inside the samples; outside: beyond them, within the bound."""
    outside_error: float
    radius: float
    radius_5: float
    convex: float
    """Share of probes whose parabola has a minimum."""


class Results:
    """Records of one profile, by what they are for."""

    def __init__(self, profile: str, store: Reader) -> None:
        self.profile = profile
        self.scale: Scale = experiment.PROFILES[profile]
        self.store = store

    def records(self, specs: Sequence[RunSpec]) -> list[Record]:
        """The records that are there, in the order of the specs."""
        return [r for r in map(self.store.get, specs) if r is not None]

    def main(self, optimizer: str) -> list[Record]:
        """One optimizer on the main task, by seed."""
        return self.records(experiment.main_runs(self.scale, optimizer))

    def table(self) -> list[Row]:
        """Every group of runs that has records: main, rates, others."""
        groups: dict[tuple[RunSpec, ...], None] = {}
        for optimizer in OPTIMIZERS:
            groups[tuple(experiment.main_runs(self.scale, optimizer))] = None
        for optimizer in OPTIMIZERS:
            for specs in experiment.rate_runs(self.scale, optimizer).values():
                groups[tuple(specs)] = None
            for spec in experiment.other_runs(self.scale, optimizer):
                groups[(spec,)] = None
        # A smaller group of the same runs adds nothing to a larger one.
        kept = [g for g in groups if not any(set(g) < set(other) for other in groups)]
        return [row(records) for group in kept if (records := self.records(group))]

    def all_records(self) -> list[Record]:
        """Every record of this profile that is there."""
        return self.records([p.spec for p in experiment.plan(self.profile, self.store)])


def optimizer_of(spec: RunSpec) -> str:
    """The name of a run's optimizer among the paper's three."""
    return next(
        name
        for name, base in OPTIMIZERS.items()
        if (base.optimizer, base.options) == (spec.optimizer, spec.optimizer_settings)
    )


def row(records: Sequence[Record]) -> Row:
    """The probes of these runs, taken together."""
    spec = records[0].spec
    found = [probe for record in records for probe in probes(record)]
    inside = [p.minimum_error for p in found if abs(p.minimum) <= max(SAMPLES)]
    outside = [p.minimum_error for p in found if max(SAMPLES) < abs(p.minimum) <= p.most]
    r2 = [p.five.r2 for p in found]
    return Row(
        spec.task.dataset,
        spec.task.model,
        optimizer_of(spec),
        float(spec.get("lr")),
        len(records),
        sum(r.diverged for r in records),
        len(found),
        _quantile(r2, 0.5),
        _quantile(r2, 0.1),
        sum(math.isfinite(x) for x in r2),
        _quantile([p.wide_r2 for p in found], 0.5),
        _quantile(inside, 0.5),
        _quantile(outside, 0.5),
        _quantile([p.five.radius for p in found], 0.5),
        _quantile([p.radius_5 for p in found], 0.5),
        float(np.mean([p.five.fit[2] > 0 for p in found])) if found else math.nan,
    )


def _quantile(values: Sequence[float], q: float) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return float(np.quantile(finite, q)) if finite else math.nan
