"""What the records of experiment 01 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adatune_lite.experiments import lrs_opt_vs_marthe as experiment
from adatune_lite.experiments.lrs_opt_vs_marthe import CLASSICAL, MUS, ONLINE, Scale
from adatune_lite.report.reading import Reading
from adatune_lite.report.search import Choice, Reader, final_loss
from adatune_lite.report.statistics import Interval, mean_interval
from adatune_lite.runs.record import Record
from adatune_lite.training.spec import RunSpec

WINDOW = 16
"""Steps of the moving average of a log schedule (claim marthe.mnist.marthe_closest)."""
LR_FLOOR = 1e-5
"""Rates below count as this much where a logarithm is taken."""

LABELS = {
    "start": "constant 0.01 (the start)",
    "constant": "constant",
    "exponential": "exponential",
    "staircase": "staircase",
    "cosine": "cosine",
    "one_cycle": "one-cycle",
    "hd": "HD (training gradient)",
    "hd_validation": "HD (validation gradient)",
    "rtho": "RTHO",
    "marthe": "MARTHE",
    "lrs_opt": "LRS-OPT (offline)",
}
"""How the methods are called in figures and tables."""


@dataclass(frozen=True)
class Row:
    """One method on the reporting seeds."""

    method: str
    runs: int
    diverged: int
    test_loss: Interval
    test_accuracy: Interval
    validation_loss: Interval
    gap: Interval
    """Test loss minus E."""
    plain_steps: float
    """Mean cost of one run in plain steps; the search that chose the settings is `search_steps`."""
    search_steps: float
    seconds: float
    """The fastest complete run, those of the search included: other work on the machine only adds to it."""


class Results(Reading[Scale]):
    """Records of one profile, by what they are for."""

    def __init__(self, profile: str, store: Reader) -> None:
        super().__init__(experiment, profile, store)

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Frozen settings by method."""
        return experiment.choices(self.scale, self.store)

    @cached_property
    def mu_choices(self) -> dict[float, Choice]:
        """Frozen hyper_lr by fixed mu."""
        return experiment.mu_choices(self.scale, self.store)

    def specs(self, method: str) -> list[RunSpec]:
        """The reporting runs of a method; empty while its settings are not chosen."""
        if method == "start":
            return experiment.start_runs(self.scale)
        if method == "lrs_opt":
            return experiment.lrs_opt_runs(self.scale)
        if method not in self.choices:
            return []
        return experiment.report_runs(self.scale, method, self.choices[method])

    def reported(self, method: str) -> list[Record]:
        """Records of the reporting runs of a method, by seed."""
        return self.records(self.specs(method))

    def at_mu(self, mu: float) -> list[Record]:
        """Records of MARTHE at a fixed mu with its frozen hyper_lr, by seed."""
        if mu not in self.mu_choices:
            return []
        return self.records(experiment.mu_runs(self.scale, mu, self.mu_choices[mu]))

    def by_seed(self, records: Sequence[Record], metric: str = "validation_loss") -> dict[int, float]:
        """A final metric by seed; a diverged run counts as guessing."""
        return {r.spec.seed: metric_of(r, metric) for r in records}

    def row(self, method: str) -> Row | None:
        """The method's line of the table; None before its first record."""
        records = self.reported(method)
        if not records:
            return None
        search, tuned = 0.0, list[Record]()
        if method == "start":  # as fast as any other constant rate
            trials = experiment.trials(self.scale, "constant")
            tuned = self.records([spec for trial in trials for spec in trial])
        if method in self.choices:
            tuned = self.records([s for trial in experiment.trials(self.scale, method) for s in trial])
            search = sum(r.cost.get("plain_steps", 0.0) for r in tuned)
        values = {
            m: [metric_of(r, m) for r in records] for m in ("test_loss", "test_accuracy", "validation_loss")
        }
        gap = [t - v for t, v in zip(values["test_loss"], values["validation_loss"], strict=True)]
        complete = [r for r in (*records, *tuned) if r.finished]
        return Row(
            method,
            runs=len(records),
            diverged=sum(r.diverged for r in records),
            test_loss=mean_interval(values["test_loss"]),
            test_accuracy=mean_interval(values["test_accuracy"]),
            validation_loss=mean_interval(values["validation_loss"]),
            gap=mean_interval(gap),
            plain_steps=float(np.mean([r.cost["plain_steps"] for r in records])),
            search_steps=search,
            seconds=min(r.cost["training_seconds"] for r in complete or records),
        )

    def table(self) -> list[Row]:
        """All methods that have records, the best test loss first."""
        rows = [self.row(m) for m in ("start", *CLASSICAL, *ONLINE, "lrs_opt")]
        return sorted((r for r in rows if r is not None), key=lambda r: r.test_loss.mean)

    def map_losses(self) -> np.ndarray:
        """E on the mu x hyper_lr map, [len(MUS), len(hyper_lrs)]: NaN not run, +inf diverged."""
        runs = experiment.map_runs(self.scale)
        out = np.full((len(MUS), len(self.scale.map_hyper_lrs)), np.nan)
        for i, mu in enumerate(MUS):
            for j, hyper_lr in enumerate(self.scale.map_hyper_lrs):
                record = self.store.get(runs[mu, hyper_lr])
                if record is not None:
                    out[i, j] = (
                        record.metrics.get("validation_loss", math.inf) if record.finished else math.inf
                    )
        return out

    def map_records(self) -> list[Record]:
        """Records of the mu x hyper_lr map."""
        return self.records(list(experiment.map_runs(self.scale).values()))

    def transfer_records(self) -> list[Record]:
        """Records of learned schedules replayed on other seeds."""
        return self.records(list(experiment.transfer_runs(self.scale, self.store, self.choices).values()))

    def transfer(self) -> dict[str, tuple[list[float], list[float]]]:
        """By method: (E on the seed it was learned on, E replayed on the other seeds)."""
        out: dict[str, tuple[list[float], list[float]]] = {}
        for (method, _, _), spec in experiment.transfer_runs(self.scale, self.store, self.choices).items():
            record = self.store.get(spec)
            if record is not None:
                out.setdefault(method, ([], []))[1].append(final_loss(record))
        for method, (own, _) in out.items():
            own += [final_loss(r) for r in self.reported(method)]
        return out

    def warm(self) -> list[Record]:
        """LRS-OPT from the best online schedule."""
        return self.records(experiment.warm_runs(self.scale, self.store, self.choices))

    def long(self) -> list[Record]:
        """The longer LRS-OPT run."""
        return self.records(experiment.long_runs(self.scale))

    def sensitivity(self) -> dict[tuple[str, str], list[Record]]:
        """Records of the variants, keyed (variant, method)."""
        runs = experiment.sensitivity_runs(self.scale, self.choices)
        return {key: records for key, specs in runs.items() if (records := self.records(specs))}

    def nearness(self, method: str) -> list[tuple[int, float, float]]:
        """(seed, correlation of the smoothed log schedule with LRS-OPT's, gap in E) by common seed."""
        reference = {r.spec.seed: r for r in self.reported("lrs_opt") if r.finished}
        out = []
        for record in self.reported(method):
            best = reference.get(record.spec.seed)
            if best is not None and record.finished:
                pair = smoothed_log(schedule_of(record)), smoothed_log(schedule_of(best))
                out.append((record.spec.seed, correlation(*pair), final_loss(record) - final_loss(best)))
        return out


def metric_of(record: Record, metric: str) -> float:
    """A final metric; where the run diverged, that of guessing among ten classes."""
    value = record.metrics.get(metric, math.nan)
    return value if math.isfinite(value) else (10.0 if metric.endswith("accuracy") else math.log(10))


def schedule_of(record: Record) -> np.ndarray:
    """The rates of a run, step by step."""
    return record.series("lr")[1]


def smoothed_log(rates: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Moving average of the logarithm of the rates (shorter schedules: of a quarter of them)."""
    window = max(1, min(window, len(rates) // 4))
    logs = np.log(np.maximum(rates, LR_FLOOR))
    return np.convolve(logs, np.ones(window) / window, mode="valid")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation; NaN where one of the two is constant."""
    if min(np.ptp(a), np.ptp(b)) < 1e-12:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
