"""Runs made again, and what differs from the records that were there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from adatune_lite import files
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import Planned

SHOWN = 20
"""Differences in a table: the largest."""
HEAD = ("run", "figure", "before", "now", "difference")

Row = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Comparison:
    """Records made again beside those that were there."""

    compared: int
    """Runs that are in both."""
    differing: int
    """Figures that are not equal to the last digit."""
    rows: tuple[Row, ...]
    """The largest differences, as `HEAD` names the columns."""

    def sentence(self) -> str:
        """The result in words."""
        if not self.compared:
            return "There were no records to compare with."
        result = f"{self.differing} figures differ" if self.differing else "equal to the last digit"
        return f"{self.compared} runs compared with the records that were there: {result}."


def store_for_again() -> Store:
    """An empty store of its own for runs that are made again."""
    return Store(files.scratch_folder() / "again" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f"))


def compare(planned: Iterable[Planned], before: Store, now: Store) -> Comparison:
    """Status and final metrics of the planned runs in two stores, where they are on the same data."""
    rows: list[tuple[float, Row]] = []
    compared = 0
    for run in planned:
        new = now.get(run.spec)
        old = new and before.get(run.spec, data=new.data_checksum)
        if old is None or new is None:
            continue
        compared += 1
        if old.status != new.status:
            rows.append((float("inf"), (str(run), "status", old.status, new.status, "")))
        for name in sorted(old.metrics.keys() & new.metrics.keys()):
            a, b = old.metrics[name], new.metrics[name]
            if a != b:
                rows.append((abs(a - b), (str(run), name, f"{a:.6g}", f"{b:.6g}", f"{abs(a - b):.2g}")))
    rows.sort(key=lambda row: -row[0])
    return Comparison(compared, len(rows), tuple(row for _, row in rows[:SHOWN]))
