"""What must hold in the records of experiment 07, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adatune_lite.experiments.cifar_invariants import observed
from adatune_lite.experiments.cifar_learning_curves.reading import Results
from adatune_lite.experiments.invariants import refuse, wrong_records
from adatune_lite.runs.record import Record

FALLING = ("exponential", "step", "cosine")


def check(results: Results) -> int:
    """Check every record of the profile.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    refuse(wrong_records(records, _record))
    return len(records)


def _record(record: Record, name: str) -> Iterator[str]:
    yield from observed(record, name)
    rates, first = record.series("lr")[1], record.spec.get("lr")
    # Where a series is thinned its rates have 9 digits.
    if record.spec.method != "one_cycle" and not np.isclose(rates[0], first, rtol=1e-8):
        yield f"{name}: it begins at the rate {rates[0]} and not at {first}"
    if record.spec.method in FALLING and (np.diff(rates) > 0).any():
        yield f"{name}: its rate rises"
