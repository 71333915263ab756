"""What must hold in the records of the experiments on CIFAR's learning curves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adatune_lite.runs.record import Record


def observed(record: Record, name: str) -> Iterator[str]:
    """What is wrong with the looks of a finished run, and with when it ended."""
    steps, validation = record.series("validation_accuracy")
    tested, test = record.series("test_accuracy")
    if not np.array_equal(steps, tested):
        yield f"{name}: validation and test were looked at at other steps"
    for what, values in (("validation", validation), ("test", test)):
        if ((values < 0) | (values > 100)).any():
            yield f"{name}: a {what} accuracy outside 0 to 100 %"
    patience = int(dict(record.spec.settings).get("stop_after", 0))
    waited = steps - steps[[int(np.argmax(validation[: k + 1])) for k in range(len(steps))]]
    if patience and (waited[:-1] >= patience).any():
        yield f"{name}: it went on after {patience} steps without a better validation accuracy"
    if steps[-1] != record.spec.steps and not (patience and waited[-1] >= patience):
        yield f"{name}: it ended at step {steps[-1]} of {record.spec.steps}"
    if abs(validation[-1] - record.metrics["validation_accuracy"]) > 1e-6:
        yield f"{name}: its last look and its final validation accuracy differ"
    if (record.series("lr")[1] < 0).any():
        yield f"{name}: a negative rate"
