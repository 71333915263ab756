"""A page of a made-up experiment: constant rates, a search, and what depends on its choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from adatune_lite.report.groups import Group, Page, Role, Search
from adatune_lite.report.search import LogUniform
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import TaskSpec, pairs
from adatune_lite.training.spec import RunSpec

TASK = TaskSpec("mnist5k", train=100, validation=10, test=10, batch=10)
SEEDS = (0, 1, 2, 3, 4)
TUNING, REPORT = Role("tuning", 10, "a search"), Role("report", lambda spec: 5 - spec.seed, "the seeds shown")
SPACE = {"lr": LogUniform(0.1, 0.4)}


def runs(lr: float, seeds: tuple[int, ...] = SEEDS) -> list[RunSpec]:
    """Trainings at a constant rate."""
    return [RunSpec("training", TASK, "constant", 4, seed, pairs({"lr": lr})) for seed in seeds]


def groups(scale: tuple[int, ...], page: Page[tuple[int, ...]]) -> Iterator[Group]:
    """A reference, rates beside it, two searches, and the best of them."""
    yield Group(("reference",), "the reference", REPORT, runs(0.01, scale))
    for lr in (0.02, 0.03):
        yield Group(("rates", lr), f"rate {lr:g}", REPORT, runs(lr, scale))
    for name, rates in (("first", (0.1, 0.2)), ("more", (0.3,))):
        trials = [runs(lr, (100, 101)) for lr in rates]
        yield Search(("search", name), name, TUNING, trials=trials, space=SPACE)
    choice = page.choice("search")
    yield Group(("best",), "the best", REPORT, runs(dict(choice.settings)["lr"], scale) if choice else ())


class Small(Page[tuple[int, ...]]):
    """Its page."""

    name = "small"
    profiles: ClassVar = {"smoke": SEEDS[:1], "desk": SEEDS}
    declare = staticmethod(groups)


@dataclass
class Made:
    """A store of records made up from their specs, and how often it was asked."""

    value: Callable[[RunSpec], float | None]
    """Test accuracy, and a hundred times E; None: not made yet, NaN: diverged."""
    asked: int = 0
    source: str = "published"

    def get(self, spec: RunSpec) -> Record | None:
        self.asked += 1
        value = self.value(spec)
        if value is None:
            return None
        metrics: dict[str, Any] = {"test_accuracy": value, "validation_loss": value / 100}
        status = "finished"
        if value != value:
            status, metrics = "diverged at step 2", {}
        stored: dict[str, Any] = {"lr": {"values": [0.1] * 4}}
        told = {"data_source": self.source}
        return Record(spec, "made up", "cpu", {}, status, stored, metrics, {"plain_steps": 4.0}, told)


def accuracy(record: Record) -> float | None:
    """A diverged run has none."""
    return record.metrics.get("test_accuracy")
