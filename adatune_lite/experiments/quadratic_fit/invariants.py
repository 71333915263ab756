"""What must hold in the records of experiment 03, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from adatune_lite.experiments.invariants import refuse, wrong_records
from adatune_lite.experiments.quadratic_fit.reading import Results, probes
from adatune_lite.runs.record import Record
from adatune_lite.training.quadratic import FAR, GRID, minimum


def check(results: Results) -> int:
    """Check every record of the profile.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    refuse(wrong_records(records, _record, lambda spec: spec.optimizer))
    return len(records)


def _record(record: Record, name: str) -> Iterator[str]:
    spec = record.spec
    steps, rates = record.series("probe_lr")
    count = int(spec.get("probes"))
    if len(steps) != count or steps[-1] != spec.steps:
        yield f"{name}: {len(steps)} probes up to step {steps[-1]}, not {count} up to {spec.steps}"
    if not np.allclose(rates, spec.get("lr"), rtol=1e-6):
        yield f"{name}: a constant rate is not constant"
    lows, there = record.series("fit_minimum")[1], record.series("loss_at_minimum")[1]
    for probe, low, loss in zip(probes(record), lows, there, strict=True):
        where = f"{name}, step {probe.step}"
        if len(probe.losses) != len(GRID):
            yield f"{where}: {len(probe.losses)} losses on a grid of {len(GRID)}"
        begin, end = probe.losses[GRID.index(-1.0)], probe.losses[GRID.index(0.0)]
        if not (math.isfinite(begin) and math.isfinite(end)):
            yield f"{where}: the loss before or after the step is not finite"
        # Kept to 9 digits: the parabola of the record is the one fitted in the run up to that rounding.
        again = minimum(probe.five.fit)
        if math.isfinite(low) and math.isfinite(again) and abs(low) < FAR:
            curved = abs(probe.five.fit[2]) * 0.04 > 1e-5 * abs(end)
            if curved and abs(low - again) > 1e-3 * max(1.0, abs(low)):
                yield f"{where}: the minimum was at {low}, and from the record it is at {again}"
        if math.isfinite(low) and abs(low) <= FAR and not math.isfinite(loss) and abs(low) <= 0.2:
            yield f"{where}: no loss at a minimum among the samples"
