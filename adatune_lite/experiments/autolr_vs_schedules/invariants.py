"""What must hold in the records of experiment 06, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

import math
from collections.abc import Iterator

from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.explore_exploit.invariants import decisions_hold
from adatune_lite.experiments.invariants import refuse
from adatune_lite.runs.record import Record


def check(results: Results) -> int:
    """Check every record of the profile.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    refuse([problem for record in records for problem in _record(record)])
    return len(records)


def _record(record: Record) -> Iterator[str]:
    name = f"{record.spec.method} seed {record.spec.seed} ({record.spec.hash[:16]})"
    if not record.finished:
        if not record.diverged:
            yield f"{name} is {record.status}"
        return
    for metric, value in record.metrics.items():
        if not math.isfinite(value):
            yield f"{name}: {metric} is {value}"
    if record.spec.method == "autolr":
        yield from decisions_hold(record, name)
