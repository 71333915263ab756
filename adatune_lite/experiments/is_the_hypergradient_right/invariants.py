"""What must hold in the records of experiment 02, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adatune_lite.experiments.invariants import refuse, wrong_records
from adatune_lite.experiments.is_the_hypergradient_right.reading import Results, error
from adatune_lite.runs.record import Record

EXACT = 1e-6
"""Relative error of an exact hypergradient; finite differences themselves are good to about 1e-9."""


def check(results: Results) -> int:
    """Check every record of the profile.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    wrong = wrong_records(records, _record, lambda spec: f"{spec.function} {spec.method}")
    wrong += [
        f"the hypergradient of {method} with {rule} is off by {error(found):.1e}"
        for (rule, method), found in results.by("exact").items()
        if found and not error(found) < EXACT
    ]
    wrong += [
        f"AdaTune without faults is off by {error(found):.1e} with {optimizer}"
        for (optimizer, kind), found in results.by("fault").items()
        if found and kind == "exact" and not error(found) < EXACT
    ]
    wrong += [
        f"batch statistics in E are off by {error(found):.1e} with {rule}"
        for (rule, kind), found in results.by("batchnorm").items()
        if found and kind == "batch" and not error(found) < EXACT
    ]
    refuse(wrong)
    return len(records)


def _record(record: Record, name: str) -> Iterator[str]:
    if record.spec.function == "published":
        rates = record.series("lr")[1]
        if "no_projection" not in str(record.spec.get("faults", "")) and not (rates >= 0).all():
            yield f"{name}: a projected rate is negative"
        if not np.isfinite(rates).all():
            yield f"{name}: a rate is not finite"
