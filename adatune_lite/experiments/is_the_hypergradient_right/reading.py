"""What the records of experiment 02 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TypeVar

import numpy as np

from adatune_lite.experiments import is_the_hypergradient_right as experiment
from adatune_lite.experiments.is_the_hypergradient_right.scale import DERIVED, Scale
from adatune_lite.report.reading import Reading
from adatune_lite.report.search import Choice, Reader
from adatune_lite.report.statistics import Interval, Paired, mean_interval, paired
from adatune_lite.runs.record import Record
from adatune_lite.training.derivatives import OUTER_ON_TEST, RATE_PER_TENSOR
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.as_published import ADAPTIVE, FAULTS

Key = TypeVar("Key")

LABELS = {
    "exact": "exact",
    "published": "all of them, own hyper-rate",
    "constant": "constant rate, tuned",
    "marthe_tf": "Marthe-TF's rules",
    "adatune": "AdaTune's rules, own alpha",
    OUTER_ON_TEST: "outer gradient on the test set",
    "frozen_lr": "products at the first rate",
    "no_decay": "no weight decay in the tangent",
    "first_step_skipped": "first step left out",
    "clipped_products": "clipped products",
    "lost_identity": "lost identity (Adam's bracket)",
    "stale_moments": "stale moments",
    "eps_inside": "eps inside the root",
    "no_projection": "no projection",
    "float32_lr": "rate in float32",
    "outer_statistics": "outer statistics taken up",
    RATE_PER_TENSOR: "a rate for each tensor (HD)",
    "mu_rule": "AdaTune's q",
    "memory_rule": "AdaTune's memory",
    "hyper_lr_rule": "AdaTune's hyper-rate",
}
"""How kinds of run are called in figures and tables; several faults at once are `ALL`."""
ALL = "all of them together"
OPTIMIZERS = {"sgd": "SGD", "momentum": "SGD with momentum", "adam": "Adam"}
GUESS = math.log(10)
METHODS = {
    "hd": "HD",
    "hd_validation": "HD (validation)",
    "rtho": "RTHO",
    "marthe": "MARTHE",
    "reverse": "whole schedule (reverse)",
}
TEXTS = {
    **FAULTS,
    OUTER_ON_TEST: "the outer gradient is taken on test images",
    RATE_PER_TENSOR: "HD for Adam moves the rate between the tensors of one step",
}


@dataclass(frozen=True)
class Row:
    """One kind of training on the reporting seeds, beside the exact recursion."""

    optimizer: str
    kind: str
    runs: int
    lost: int
    """Runs that diverged or ended worse than guessing."""
    test_loss: Interval
    against: Paired | None
    """Test loss minus that of the exact recursion, by seed; a lost run counts as guessing."""
    accuracy: Paired | None
    deviation: float
    """Root mean square over the steps of log10(rate / exact rate), mean over the seeds."""


@dataclass(frozen=True)
class Lean:
    """One cheaper way to the hypergradient."""

    kind: str
    cost: float
    """Plain steps of a step."""
    cosine: float
    """Of the hypergradients of all steps with the full ones, along the same weights; mean over seeds."""
    test_loss: Interval
    against: Paired | None
    """Test loss minus that of the full hypergradient."""
    runs: int
    lost: int


class Results(Reading[Scale]):
    """Records of one profile, by what they are for."""

    def __init__(self, profile: str, store: Reader) -> None:
        super().__init__(experiment, profile, store)

    @cached_property
    def choices(self) -> dict[tuple[str, str], Choice]:
        """Frozen settings keyed (optimizer, kind)."""
        return experiment.choices(self.scale, self.store)

    @cached_property
    def trained(self) -> dict[tuple[str, str], list[Record]]:
        """(b) records of the reporting runs keyed (optimizer, kind)."""
        return self._all(experiment.report_runs(self.scale, self.choices))

    @cached_property
    def locality(self) -> dict[tuple[str, str, float], list[Record]]:
        """(c) keyed (network, optimizer, rate)."""
        return self._all(experiment.locality_runs(self.scale))

    @cached_property
    def batchnorm(self) -> dict[tuple[str, str], list[Record]]:
        """(d) keyed (rule, statistics in E)."""
        return self._all(experiment.batchnorm_runs(self.scale))

    @cached_property
    def exact(self) -> dict[tuple[str, str], list[Record]]:
        """(a) keyed (rule, method)."""
        return self._all(experiment.exact_runs(self.scale))

    @cached_property
    def faulty(self) -> dict[tuple[str, str], list[Record]]:
        """(b) errors keyed (optimizer, fault), all faults together under `ALL`."""
        found = self._all(experiment.fault_error_runs(self.scale))
        return {(o, ALL if f == ",".join(DERIVED[o]) else f): r for (o, f), r in found.items()}

    @cached_property
    def calm(self) -> dict[str, list[Record]]:
        """(b) SGD with momentum at the smaller hyper_lr, keyed by deviation."""
        return self._all(experiment.calm_runs(self.scale, self.choices))

    @cached_property
    def lean(self) -> dict[str, list[Record]]:
        """(e) trainings keyed by what is cheaper."""
        return self._all(experiment.lean_trainings(self.scale, self.choices))

    @cached_property
    def calm_lean(self) -> dict[str, list[Record]]:
        """(e) the same at the smaller hyper_lr."""
        return self._all(experiment.lean_trainings(self.scale, self.choices, calm=True))

    @cached_property
    def lean_series(self) -> dict[str, list[Record]]:
        """(e) hypergradients along the same weights, keyed by what is cheaper."""
        return self._all(experiment.lean_series(self.scale))

    def lean_rows(self, *, calm: bool = False) -> list[Lean]:
        """What each of (e) costs and is worth, the dearest first."""
        trainings = self.calm_lean if calm else self.lean
        full = trainings.get("full", [])
        rows = []
        for kind, records in trainings.items():
            cosines = [
                cosine(r.series("hypergradient")[1], x.series("hypergradient")[1])
                for r in self.lean_series.get(kind, [])
                for x in self.lean_series.get("full", [])
                if r.spec.seed == x.spec.seed and r.finished and x.finished
            ]
            whole = [r for r in records if r.finished]
            rows.append(
                Lean(
                    kind,
                    fmean(r.cost["plain_steps"] / r.spec.steps for r in whole) if whole else math.nan,
                    fmean(cosines) if cosines else math.nan,
                    mean_interval(list(by_seed(records, "test_loss").values())),
                    paired(by_seed(records, "test_loss"), by_seed(full, "test_loss")),
                    len(records),
                    sum(map(lost, records)),
                )
            )
        return sorted(rows, key=lambda row: -row.cost)

    @cached_property
    def projection(self) -> dict[tuple[float, bool], list[Record]]:
        """Adam with and without projection keyed (hyper_lr, projected)."""
        return self._all(experiment.projection_runs(self.scale))

    def _all(self, runs: Mapping[Key, Sequence[RunSpec]]) -> dict[Key, list[Record]]:
        return {key: records for key, specs in runs.items() if (records := self.records(specs))}

    def kinds(self, optimizer: str, *, adaptive: bool = False) -> list[str]:
        """The kinds of run that there are with an optimizer; `adaptive` are those of the adaptive rules."""
        own = {"marthe_tf", "adatune", *ADAPTIVE}
        return [k for o, k in self.trained if o == optimizer and (k in own) == adaptive]

    def row(self, optimizer: str, kind: str, base: str = "exact") -> Row | None:
        """One line of the table of (b); None without records."""
        reference = self.trained.get((optimizer, base), [])
        return _row(optimizer, kind, self.trained.get((optimizer, kind), []), reference, kind == base)

    def calm_row(self, kind: str) -> Row | None:
        """The same for SGD with momentum at the smaller hyper_lr."""
        return _row("momentum", kind, self.calm.get(kind, []), self.calm.get("exact", []), kind == "exact")


def _row(
    optimizer: str, kind: str, records: Sequence[Record], reference: Sequence[Record], is_base: bool
) -> Row | None:
    if not records:
        return None
    losses, theirs = by_seed(records, "test_loss"), by_seed(reference, "test_loss")
    accuracy = paired(by_seed(records, "test_accuracy"), by_seed(reference, "test_accuracy"))
    gaps = [
        float(np.sqrt(np.mean((_log_rates(r) - _log_rates(x)) ** 2)))
        for r in records
        for x in reference
        if r.spec.seed == x.spec.seed and r.finished and x.finished
    ]
    return Row(
        optimizer,
        kind,
        len(records),
        sum(map(lost, records)),
        mean_interval(list(losses.values())),
        None if is_base else paired(losses, theirs),
        None if is_base else accuracy,
        fmean(gaps) if gaps else math.nan,
    )


def label(kind: str) -> str:
    """How a kind of run, or a list of faults, is called."""
    return ALL if "," in kind else LABELS.get(kind, kind)


def error(records: Sequence[Record]) -> float:
    """The largest relative error over the seeds; infinite where a run diverged."""
    return max((r.metrics.get("relative_error", math.inf) for r in records), default=math.nan)


def by_seed(records: Sequence[Record], metric: str) -> dict[int, float]:
    """A final metric by seed; where the run is lost, that of guessing among ten classes."""
    guess = 10.0 if metric.endswith("accuracy") else GUESS
    return {r.spec.seed: guess if lost(r) else r.metrics[metric] for r in records}


def lost(record: Record) -> bool:
    """Whether a run diverged, or ended with an E above that of guessing: steps that were huge and finite."""
    return not record.metrics.get("validation_loss", math.inf) < GUESS


def probes(records: Sequence[Record], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values [seeds, probes]) of a series of `locality`."""
    series = [r.series(name) for r in records if r.finished]
    if not series:
        return np.zeros(0), np.zeros((0, 0))
    return series[0][0], np.stack([values for _, values in series])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two series of equal length."""
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def turned_negative(record: Record) -> bool:
    """Whether a rate of the run fell below 0."""
    return bool(record.series("lr")[1].min() < 0)


def _log_rates(record: Record) -> np.ndarray:
    rates = record.series("lr")[1]
    return np.log10(np.maximum(np.abs(rates), 1e-8))
