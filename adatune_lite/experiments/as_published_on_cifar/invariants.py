"""What must hold in the records of experiment 09, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adatune_lite.experiments.as_published_on_cifar.groups import NAMES
from adatune_lite.experiments.as_published_on_cifar.reading import READINGS, Results, best_test, last
from adatune_lite.experiments.invariants import refuse, wrong_records
from adatune_lite.runs.record import Record

DIGITS = 1e-6
"""Series are kept to fewer digits than metrics."""


def check(results: Results) -> int:
    """Check every record of the profile.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    refuse([*wrong_records(records, _record), *_pairs(results)])
    return len(records)


def _record(record: Record, name: str) -> Iterator[str]:
    rates, accuracies = record.series("lr")[1], record.series("test_accuracy")[1]
    faults = record.spec.get("faults").split(",") if record.spec.function == "published" else []
    if not np.isfinite(rates).all() or ("no_projection" not in faults and (rates < 0).any()):
        yield f"{name}: a learning rate is negative or not finite"
    epochs = record.spec.steps // (record.spec.task.train // record.spec.task.batch)
    if len(accuracies) != epochs:
        yield f"{name}: {len(accuracies)} looks at the test images in {epochs} epochs"
    elif abs(accuracies[-1] - last(record)) > DIGITS:
        yield f"{name}: its last look saw {accuracies[-1]} % and its end {last(record)} %"
    if best_test(record) < max(of(record) for of in READINGS.values()) - DIGITS:
        yield f"{name}: its best test epoch is not its best one"


def _pairs(results: Results) -> Iterator[str]:
    """The first step of a seed is the same in all arms: the same weights, the same batch, the same rate."""
    first: dict[int, float] = {}
    for arm in NAMES:
        for record in results["arm", arm]:
            loss, rate = (record.series(name)[1][0] for name in ("train_loss", "lr"))
            seed = record.spec.seed
            if abs(loss - first.setdefault(seed, loss)) > 1e-5 * abs(loss):
                yield f"{arm} seed {seed} begins at the loss {loss}, another arm at {first[seed]}"
            if not np.isclose(rate, results.scale.setup.lr, rtol=1e-6):
                yield f"{arm} seed {seed} begins at the rate {rate}, not {results.scale.setup.lr}"
