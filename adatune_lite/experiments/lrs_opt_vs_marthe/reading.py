"""What the records of experiment 01 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from adatune_lite.experiments.lrs_opt_vs_marthe.groups import MUS, groups
from adatune_lite.experiments.lrs_opt_vs_marthe.scale import PROFILES, Scale
from adatune_lite.report.groups import Page
from adatune_lite.report.search import final_loss
from adatune_lite.report.tables import Column, Mean, Row, Value, rows
from adatune_lite.runs.record import Record

NAME = "01_lrs_opt_vs_marthe"
WINDOW = 16
"""Steps of the moving average of a log schedule (claim marthe.mnist.marthe_closest)."""
LR_FLOOR = 1e-5
"""Rates below count as this much where a logarithm is taken."""


def metric(name: str, guessing: float) -> Callable[[Record], float]:
    """A final metric of a run; where it diverged, that of guessing."""

    def of(record: Record) -> float:
        value = record.metrics.get(name, math.nan)
        return value if math.isfinite(value) else guessing

    return of


final_test_loss, final_accuracy = metric("test_loss", math.log(10)), metric("test_accuracy", 10.0)


def gap(record: Record) -> float:
    """Test loss minus E."""
    return final_test_loss(record) - final_loss(record)


def plain_steps(records: Sequence[Record]) -> float:
    """What a run cost in plain steps, the mean."""
    return float(np.mean([r.cost["plain_steps"] for r in records]))


def lost(records: Sequence[Record]) -> int:
    """How many diverged."""
    return sum(not r.finished for r in records)


def averaged(name: str, value: Value, digits: int = 3) -> Column:
    """The column of a mean, without an interval where a run is lost."""
    return Column(name, lambda row: Mean.of(row.records, value), lambda mean: mean.text(digits))


TEST_LOSS, ACCURACY = averaged("test loss", final_test_loss), averaged("test accuracy (%)", final_accuracy, 2)


class Results(Page[Scale]):
    """Records of one profile, by the keys of `groups`."""

    name = NAME
    profiles = PROFILES
    declare = staticmethod(groups)

    @cached_property
    def ranked(self) -> list[Row]:
        """All arms that have records on the reporting seeds, the best test loss first."""
        held = [row for row in rows(self, "report") if row.records]
        return sorted(held, key=lambda row: TEST_LOSS.of(row).interval.mean)

    @property
    def map_losses(self) -> np.ndarray:
        """E on the mu x hyper_lr map, [len(MUS), len(hyper_lrs)]: NaN not run, +inf diverged."""
        places = self.scale.map_hyper_lrs
        out = np.full((len(MUS), len(places)), np.nan)
        for record in self["map"]:
            place = MUS.index(record.spec.get("mu")), places.index(record.spec.get("hyper_lr"))
            out[place] = final_loss(record) if record.finished else math.inf
        return out

    def offline(self, record: Record) -> Record | None:
        """LRS-OPT on the seed of a run; None unless both finished."""
        found = (r for r in self["report", "lrs_opt"] if r.spec.seed == record.spec.seed)
        return next((best for best in found if best.finished and record.finished), None)

    def offline_gap(self, record: Record) -> float | None:
        """E minus that of LRS-OPT on its seed."""
        best = self.offline(record)
        return final_loss(record) - final_loss(best) if best else None

    def likeness(self, record: Record) -> float | None:
        """Correlation of its smoothed log schedule with LRS-OPT's; None where one of them is constant."""
        best = self.offline(record)
        return correlation(smoothed_log(record), smoothed_log(best)) if best else None


def schedule_of(record: Record) -> np.ndarray:
    """The rates of a run, step by step."""
    return record.series("lr")[1]


def smoothed_log(record: Record) -> np.ndarray:
    """Moving average of the logarithm of its rates (shorter schedules: of a quarter of them)."""
    rates = schedule_of(record)
    window = max(1, min(WINDOW, len(rates) // 4))
    logs = np.log(np.maximum(rates, LR_FLOOR))
    return np.convolve(logs, np.ones(window) / window, mode="valid")


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's; None where one of the two is constant."""
    return None if min(np.ptp(a), np.ptp(b)) < 1e-12 else float(np.corrcoef(a, b)[0, 1])
