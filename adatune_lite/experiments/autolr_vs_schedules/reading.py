"""What the records of experiment 06 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

from functools import cached_property
from statistics import fmean

from adatune_lite.experiments.autolr_records import accuracies
from adatune_lite.experiments.autolr_vs_schedules.groups import groups, minimum
from adatune_lite.experiments.autolr_vs_schedules.scale import PROFILES, Scale
from adatune_lite.report.groups import Key, Page
from adatune_lite.report.tables import Row, rows
from adatune_lite.runs.record import Record

NAME = "06_autolr_vs_schedules"


class Results(Page[Scale]):
    """Records of one profile, by the keys of `groups`."""

    name = NAME
    profiles = PROFILES
    declare = staticmethod(groups)

    @cached_property
    def minimum(self) -> float | None:
        """(e): the rate at the range test's lowest loss on the main task; None without all of its runs."""
        return minimum(self)

    @property
    def whole(self) -> list[Record]:
        """AutoLR as it is, on the main task."""
        return self[self.scale.whole()]

    @cached_property
    def ranked(self) -> list[Row]:
        """(b): the methods by mean test accuracy, the best first; those without records last."""

        def place(row: Row) -> float:
            return -fmean(accuracies(row.records).values()) if row.records else 1.0

        return sorted(rows(self, "tuned", against="autolr"), key=place)


def autolr_by_cell(results: Results) -> dict[str, Key]:
    """(a): the keys of AutoLR's runs by the name of the cell."""
    return {name: (*cell, "autolr") for name, cell in results.scale.cells.items()}
