"""What must hold in the records of experiment 06, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

from collections.abc import Iterator

from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.explore_exploit.invariants import decisions_hold
from adatune_lite.experiments.invariants import refuse, wrong_records
from adatune_lite.runs.record import Record


def check(results: Results) -> int:
    """Check every record of the profile.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    refuse(wrong_records(records, _record))
    return len(records)


def _record(record: Record, name: str) -> Iterator[str]:
    if record.spec.method == "autolr":
        yield from decisions_hold(record, name)
    if record.spec.method == "lr_range":
        rates, losses = record.series("lr")[1], record.series("train_loss")[1]
        if record.metrics["minimum"] != rates[losses.argmin()]:
            yield f"{name}: {record.metrics['minimum']} is not the rate at its lowest loss"
