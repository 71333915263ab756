"""What the records of experiment 01 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from adatune_lite.experiments.lrs_opt_vs_marthe.groups import MUS, groups
from adatune_lite.experiments.lrs_opt_vs_marthe.scale import PROFILES, Scale
from adatune_lite.report.groups import Page
from adatune_lite.report.lost import E, is_lost, kept, metric
from adatune_lite.report.tables import Row, averaged, rows
from adatune_lite.runs.record import Record

NAME = "01_lrs_opt_vs_marthe"
WINDOW = 16
"""Steps of the moving average of a log schedule (claim marthe.mnist.marthe_closest)."""
LR_FLOOR = 1e-5
"""Rates below count as this much where a logarithm is taken."""


final_loss, final_test_loss, final_accuracy = (metric(n) for n in (E, "test_loss", "test_accuracy"))


def gap(record: Record) -> float:
    """Test loss minus E."""
    return final_test_loss(record) - final_loss(record)


def plain_steps(records: Sequence[Record]) -> float:
    """What a run cost in plain steps, the mean."""
    return float(np.mean([r.cost["plain_steps"] for r in records]))


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
        return sorted(held, key=lambda row: TEST_LOSS.of(row).rank)

    @property
    def map_losses(self) -> np.ndarray:
        """E on the mu x hyper_lr map, [len(MUS), len(hyper_lrs)]: NaN not run, +inf lost."""
        places = self.scale.map_hyper_lrs
        out = np.full((len(MUS), len(places)), np.nan)
        for record in self["map"]:
            place = MUS.index(record.spec.get("mu")), places.index(record.spec.get("hyper_lr"))
            out[place] = math.inf if is_lost(record) else final_loss(record)
        return out

    def offline(self, record: Record) -> Record | None:
        """LRS-OPT on the seed of a run; None where it is lost."""
        return next(
            (best for best in kept(self["report", "lrs_opt"]) if best.spec.seed == record.spec.seed), None
        )

    def offline_gap(self, record: Record) -> float | None:
        """E minus that of LRS-OPT on its seed."""
        best = self.offline(record)
        return final_loss(record) - final_loss(best) if best else None

    def likeness(self, record: Record) -> float | None:
        """Correlation of its smoothed log schedule with LRS-OPT's; None where one is constant, or lost."""
        best = None if is_lost(record) else self.offline(record)
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
