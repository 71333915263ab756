"""What must hold in the records of experiment 04, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

import math
from collections.abc import Iterator

from adatune_lite.experiments.invariants import refuse, wrong_records
from adatune_lite.experiments.superbatch.reading import Results, sizes
from adatune_lite.runs.record import Record
from adatune_lite.tuners.autolr.fit import REACH

SHARES = ("agree_5", "agree_3", "samples_agree")


def check(results: Results) -> int:
    """Check every record of the profile.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    refuse(wrong_records(records, _record, lambda spec: spec.optimizer))
    return len(records)


def _record(record: Record, name: str) -> Iterator[str]:
    spec = record.spec
    steps, losses = record.series("loss")
    if len(steps) != int(spec.get("probes")) or steps[-1] != spec.steps:
        yield f"{name}: {len(steps)} probes up to step {steps[-1]}"
    if not all(math.isfinite(x) and x > 0 for x in losses):
        yield f"{name}: a loss is not finite or not positive"
    for series in ("move", "move_3"):
        if (abs(record.series(series)[1]) > REACH * (1 + 1e-9)).any():
            yield f"{name}: a {series} is beyond {REACH} of the rate"
    compared = sizes(record)
    for size in compared:
        for share in SHARES:
            values = record.series(f"{share} {size}")[1]
            if not ((values >= 0) & (values <= 1)).all():
                yield f"{name}: {share} {size} is no share"
        for samples in (5, 3):
            if not (record.series(f"error_{samples} {size}")[1] <= 2 * REACH * (1 + 1e-9)).all():
                yield f"{name}: error_{samples} {size} is beyond twice the reach"
    # Of two sizes far apart the larger is the quieter, whatever was drawn.
    small, large = (record.series(f"loss_std {size}")[1] for size in (compared[0], compared[-1]))
    if compared[-1] >= 10 * compared[0] and not (large < small).all():
        yield f"{name}: the loss of {compared[-1]} mini-batches spreads more than that of {compared[0]}"
