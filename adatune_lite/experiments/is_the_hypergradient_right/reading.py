"""What the records of experiment 02 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np

from adatune_lite.experiments.is_the_hypergradient_right.groups import groups
from adatune_lite.experiments.is_the_hypergradient_right.scale import PROFILES, Scale
from adatune_lite.report.groups import Page
from adatune_lite.report.lost import metric
from adatune_lite.report.tables import Row, rows
from adatune_lite.runs.record import Record

NAME = "02_is_the_hypergradient_right"


class Results(Page[Scale]):
    """Records of one profile, by the keys of `groups`."""

    name = NAME
    profiles = PROFILES
    declare = staticmethod(groups)

    @property
    def cheaper(self) -> list[Row]:
        """(e) trainings at a part of the frozen hyper_lr, the dearest first."""
        held = [row for row in rows(self, "lean", "calm", against="full") if row.records]
        return sorted(held, key=lambda row: -cost(row.records))

    def cosine(self, kind: str) -> float:
        """(e) of the hypergradients of all steps with the full ones, along the same weights; NaN without."""
        found = [
            float(a @ b / math.sqrt((a @ a) * (b @ b)))
            for ours, full in by_pairs(self["lean", "series", kind], self["lean", "series", "full"])
            for a, b in [(ours.series("hypergradient")[1], full.series("hypergradient")[1])]
        ]
        return fmean(found) if found else math.nan


def by_pairs(records: Sequence[Record], others: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Runs of one seed that both finished."""
    of = {other.spec.seed: other for other in others if other.finished}
    return ((r, of[r.spec.seed]) for r in records if r.finished and r.spec.seed in of)


test_loss, accuracy = metric("test_loss"), metric("test_accuracy")


def cost(records: Sequence[Record]) -> float:
    """Plain steps of a step; NaN where every run diverged."""
    whole = [r.cost["plain_steps"] / r.spec.steps for r in records if r.finished]
    return fmean(whole) if whole else math.nan


def deviation(records: Sequence[Record], exact: Sequence[Record]) -> float:
    """Root mean square over the steps of log10(rate / exact rate), mean over the seeds."""
    gaps = [
        float(np.sqrt(np.mean((_log_rates(r) - _log_rates(x)) ** 2))) for r, x in by_pairs(records, exact)
    ]
    return fmean(gaps) if gaps else math.nan


def _log_rates(record: Record) -> np.ndarray:
    return np.log10(np.maximum(np.abs(record.series("lr")[1]), 1e-8))


def error(records: Sequence[Record]) -> float:
    """The largest relative error over the seeds; infinite where a run diverged."""
    return max((r.metrics.get("relative_error", math.inf) for r in records), default=math.nan)


def probes(records: Sequence[Record], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values [seeds, probes]) of a series of `locality`."""
    series = [r.series(name) for r in records if r.finished]
    if not series:
        return np.zeros(0), np.zeros((0, 0))
    return series[0][0], np.stack([values for _, values in series])


def seen(records: Sequence[Record], name: str = "cosine_1") -> float | None:
    """Their mean over all probes and seeds; None where every run diverged."""
    return float(probes(records, name)[1].mean()) if any(r.finished for r in records) else None


def turned_negative(record: Record) -> bool:
    """Whether a rate of the run fell below 0."""
    return bool(record.series("lr")[1].min() < 0)
