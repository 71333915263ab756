"""What every experiment asks of its records, whatever they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from adatune_lite.experiments.invariants import InvariantError, refuse, wrong_records
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

SPEC = RunSpec("training", TaskSpec("mnist5k", train=100, validation=10, test=10), "constant", 4, seed=7)
NAME = f"constant seed 7 ({SPEC.hash[:16]})"


def record(status: str, value: float) -> Record:
    return Record.of(SPEC, Outcome(status, {"lr": [0.1]}, {"loss": value}), code="none", device="cpu")


def nothing(record: Record, name: str) -> Iterator[str]:
    yield from ()


@pytest.mark.parametrize(
    ("status", "value", "wrong"),
    [
        ("finished", 1.0, []),
        ("diverged at step 2", math.nan, []),
        ("finished", math.inf, [f"{NAME}: loss is inf"]),
        ("stopped by budget", 1.0, [f"{NAME} is stopped by budget"]),
    ],
)
def test_a_run_ends_and_what_it_measured_is_finite(status: str, value: float, wrong: list[str]) -> None:
    assert wrong_records([record(status, value)], nothing) == wrong


def test_what_else_is_asked_is_asked_of_finished_runs_alone() -> None:
    def further(record: Record, name: str) -> Iterator[str]:
        yield f"{name}: {record.status}"

    held = [record("finished", 1.0), record("diverged at step 2", 1.0)]
    assert wrong_records(held, further, lambda spec: "SGD") == [f"SGD{NAME[8:]}: finished"]


def test_the_first_five_are_told_and_the_others_counted() -> None:
    refuse([])
    with pytest.raises(InvariantError, match=r"^0; 1; 2; 3; 4; and 2 more$"):
        refuse([str(k) for k in range(7)])
