"""What the records of experiment 03 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from adatune_lite.experiments import quadratic_fit as experiment
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS, base
from adatune_lite.experiments.quadratic_fit import Scale, threshold
from adatune_lite.report.reading import Reading
from adatune_lite.report.search import Reader
from adatune_lite.runs.record import Record
from adatune_lite.training.quadratic import GRID, SAMPLES, WIDE, Quality, bound, minimum, move, quality
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.autolr.fit import parabola

T = TypeVar("T")

NAMES = {"sgd": "SGD", "momentum": "momentum", "adam": "Adam"}
DATASETS = {
    "mnist": "MNIST",
    "mnist5k": "digits",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
}
NETWORKS = {"mlp": "dense", "conv4": "4-layer", "resnet18": "ResNet-18"}


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
    true_minimum: float
    """The true loss there."""
    minimum_error: float
    """|L - parabola| / L at the predicted minimum; NaN without one, or beyond the grid."""
    move: float
    """The change of the rate that AutoLR would make; move_3 from three samples."""
    move_3: float


def probes(record: Record) -> list[Probe]:
    """The probes of a run, in the order of their steps."""
    steps, rates = record.series("probe_lr")
    lows, there = record.series("fit_minimum")[1], record.series("loss_at_minimum")[1]
    found, r = [], threshold(record.spec.task)
    for k, step in enumerate(steps):
        losses: list[float] = record.series(f"line {step}")[1].tolist()
        middle = losses[GRID.index(0.0)]
        most = bound(float(rates[k]), middle, r) if math.isfinite(middle) else 0.0
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
                float(there[k]),
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
    found: tuple[Probe, ...]

    @property
    def label(self) -> str:
        """The group in a few words."""
        return f"{DATASETS[self.dataset]}, {NETWORKS[self.model]}, {NAMES[self.optimizer]}, rate {self.lr:g}"


class Results(Reading[Scale]):
    """Records of one profile, by what they are for."""

    def __init__(self, profile: str, store: Reader) -> None:
        super().__init__(experiment, profile, store)
        self._probes: dict[str, list[Probe]] = {}

    def main(self, optimizer: str) -> list[Record]:
        """One optimizer on the main task, by seed."""
        return self.records(experiment.main_runs(self.scale, optimizer))

    def probes(self, record: Record) -> list[Probe]:
        """The probes of a run, read once."""
        if record.spec.hash not in self._probes:
            self._probes[record.spec.hash] = probes(record)
        return self._probes[record.spec.hash]

    def examples(self) -> dict[str, tuple[str, Probe]]:
        """One probe of the main task and its optimizer for each case of Figures 1 and 5; by rule, not by eye.

        inside, outside: of those with a minimum among the samples, or beyond them and within the bound, the
        one with the median error there. far: the one whose parabola is wrong by the most on the grid.
        """
        found = [
            (name, probe)
            for name in OPTIMIZERS
            for record in self.main(name)
            if record.finished
            for probe in self.probes(record)
        ]
        chosen = {
            "inside": _middle([p for p in found if inside(p[1])], lambda p: p[1].minimum_error),
            "outside": _middle([p for p in found if outside(p[1])], lambda p: p[1].minimum_error),
            "far": max(found, key=lambda p: breakdown(p[1]), default=None),
        }
        return {case: example for case, example in chosen.items() if example is not None}

    def typical(self) -> dict[tuple[str, str], dict[str, Probe]]:
        """By task and optimizer, at its seed rate and first seed, the probe with the median R^2."""
        out: dict[tuple[str, str], dict[str, Probe]] = {}
        for optimizer in OPTIMIZERS:
            specs = experiment.main_runs(self.scale, optimizer)[:1]
            specs += experiment.other_runs(self.scale, optimizer)
            for record in self.records(specs):
                probe = _middle(self.probes(record), lambda p: p.five.r2)
                if probe is not None:
                    task = record.spec.task
                    out.setdefault((task.dataset, task.model), {})[optimizer] = probe
        return out

    def table(self) -> list[Row]:
        """Every group of runs that has records: main, rates, others."""
        groups: dict[tuple[RunSpec, ...], None] = {}
        for optimizer in OPTIMIZERS:
            groups[tuple(experiment.main_runs(self.scale, optimizer))] = None
        for optimizer in OPTIMIZERS:
            for specs in experiment.rate_runs(self.scale, optimizer).values():
                groups[tuple(specs)] = None
            more = experiment.repeated_runs(self.scale, optimizer)
            for spec in experiment.other_runs(self.scale, optimizer):
                groups[(spec, *(again for again in more if again.task == spec.task))] = None
        # A smaller group of the same runs adds nothing to a larger one.
        kept = [g for g in groups if not any(set(g) < set(other) for other in groups)]
        return [
            row(records, [probe for r in records for probe in self.probes(r)])
            for group in kept
            if (records := self.records(group))
        ]


def optimizer_of(spec: RunSpec) -> str:
    """The name of a run's optimizer among the paper's three."""
    bases = {name: base(name, spec.task) for name in OPTIMIZERS}
    used = spec.optimizer, spec.optimizer_settings
    return next(name for name, found in bases.items() if (found.optimizer, found.options) == used)


def row(records: Sequence[Record], found: Sequence[Probe]) -> Row:
    """The probes of these runs, taken together."""
    spec = records[0].spec
    among = [p.minimum_error for p in found if inside(p)]
    beyond = [p.minimum_error for p in found if outside(p)]
    r2 = [p.five.r2 for p in found]
    return Row(
        spec.task.dataset,
        spec.task.model,
        optimizer_of(spec),
        float(spec.get("lr")),
        len(records),
        sum(r.diverged for r in records),
        len(found),
        quantile(r2, 0.5),
        quantile(r2, 0.1),
        sum(math.isfinite(x) for x in r2),
        quantile([p.wide_r2 for p in found], 0.5),
        quantile(among, 0.5),
        quantile(beyond, 0.5),
        quantile([p.five.radius for p in found], 0.5),
        quantile([p.radius_5 for p in found], 0.5),
        float(np.mean([p.five.fit[2] > 0 for p in found])) if found else math.nan,
        tuple(found),
    )


def inside(probe: Probe) -> bool:
    """Whether the parabola's minimum lies among the samples."""
    return abs(probe.minimum) <= max(SAMPLES)


def outside(probe: Probe) -> bool:
    """Whether it lies beyond them and within the bound."""
    return max(SAMPLES) < abs(probe.minimum) <= probe.most


def clipped_error(probe: Probe) -> float:
    """|L - parabola| / L where the bound stops a minimum beyond it.

    NaN where the minimum does not lie beyond the bound, and where the bound is no point of GRID: then the
    true loss there was not measured. The bound is one wherever it is half the rate.
    """
    stopped = math.copysign(probe.most, probe.minimum)
    if not abs(probe.minimum) > probe.most or stopped not in GRID:
        return math.nan
    true = probe.losses[GRID.index(stopped)]
    return abs(true - parabola(probe.five.fit, stopped)) / abs(true) if true else math.nan


def breakdown(probe: Probe) -> float:
    """The largest error of the parabola on the grid, relative to the loss there; 0 without a parabola."""
    pairs = [(loss, parabola(probe.five.fit, u)) for u, loss in zip(GRID, probe.losses, strict=True)]
    errors = [abs(model - loss) / abs(loss) for loss, model in pairs if math.isfinite(loss) and loss]
    return max((e for e in errors if math.isfinite(e)), default=0.0)


def _middle(found: Sequence[T], of: Callable[[T], float]) -> T | None:
    """The one with the median of a value, of an even number the lower; those without a value are left out."""
    ordered = sorted((p for p in found if math.isfinite(of(p))), key=of)
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def quantile(values: Sequence[float], q: float) -> float:
    """A quantile of the finite values; NaN where there is none."""
    finite = [v for v in values if math.isfinite(v)]
    return float(np.quantile(finite, q)) if finite else math.nan
