"""What the records of experiment 06 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from adatune_lite.experiments import autolr_vs_schedules as experiment
from adatune_lite.experiments.autolr_records import accuracies, log_losses
from adatune_lite.experiments.autolr_vs_schedules import EVALUATION, FRACTIONS, MAIN, TUNED
from adatune_lite.experiments.autolr_vs_schedules.scale import Scale
from adatune_lite.report.reading import Reading
from adatune_lite.report.search import Choice, Reader
from adatune_lite.report.statistics import Paired, paired
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import TaskSpec

TABLES = {"cifar10": "t4", "mnist": "t13", "mnist5k": "t13", "fashion_mnist": "t14"}
"""The paper's table of a data set; the embedded digits are MNIST's."""


@dataclass(frozen=True)
class Cell:
    """(a): one optimizer on one task."""

    task: TaskSpec
    optimizer: str
    autolr: list[Record]
    baseline: list[Record]

    @property
    def table(self) -> str:
        """Which of the paper's tables it belongs to."""
        return TABLES[self.task.dataset]

    @property
    def records(self) -> list[Record]:
        """Of both sides."""
        return [*self.autolr, *self.baseline]

    @property
    def accuracy(self) -> Paired | None:
        """Test accuracy of AutoLR minus that of the baseline; diverged runs count as guessing."""
        return paired(accuracies(self.autolr), accuracies(self.baseline))

    @property
    def log_loss(self) -> Paired | None:
        """The same of the log of the final training loss, over the seeds on which both finished."""
        return paired(log_losses(self.autolr), log_losses(self.baseline))


class Results(Reading[Scale]):
    """Records of one profile, by what they are for."""

    def __init__(self, profile: str, store: Reader) -> None:
        super().__init__(experiment, profile, store)

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Frozen settings by method."""
        return experiment.choices(self.scale, self.store)

    def paper(self, task: TaskSpec, optimizer: str, which: str) -> list[Record]:
        """(a): "baseline" or "autolr", by seed."""
        return self.records(experiment.paper_runs(self.scale)[task, optimizer, which])

    def cells(self) -> list[Cell]:
        """(a): every task with its optimizers."""
        return [
            Cell(task, o, self.paper(task, o, "autolr"), self.paper(task, o, "baseline"))
            for task, o in experiment.cells(self.scale)
        ]

    def cell(self, table: str, optimizer: str) -> Cell | None:
        """The cell of one of the paper's tables ("t4", "t13", "t14"); None where its task is not planned."""
        found = (c for c in self.cells() if (c.table, c.optimizer) == (table, optimizer))
        return next(found, None)

    def records_of(self, table: str, optimizer: str) -> list[Record]:
        """The records of a cell, none where its task is not planned."""
        found = self.cell(table, optimizer)
        return found.records if found else []

    def tuned(self) -> dict[str, list[Record]]:
        """(b): every method whose settings are frozen, by seed."""
        return {
            method: self.records(experiment.report_runs(self.scale, method, self.choices[method]))
            for method in TUNED
            if method in self.choices
        }

    def printed(self) -> dict[str, list[Record]]:
        """The seven schedules of Table 9 at their printed rates; empty where the profile has no such runs."""
        found = {m: self.records(specs) for m, specs in experiment.printed_runs(self.scale).items()}
        sides = {"staircase": "baseline", "autolr": "autolr"} if found else {}
        return found | {m: self.paper(self.scale.main, MAIN, side) for m, side in sides.items()}

    def ranked(self) -> list[tuple[str, list[Record]]]:
        """(b): the methods by mean test accuracy, the best first."""
        held = [(m, records) for m, records in self.tuned().items() if records]
        return sorted(held, key=lambda row: -fmean(accuracies(row[1]).values()))

    def safeguards(self) -> dict[str, list[Record]]:
        """(c): AutoLR without one safeguard."""
        return {n: self.records(specs) for n, specs in experiment.safeguard_runs(self.scale).items()}

    def opened(self) -> dict[str, tuple[list[Record], list[Record]]]:
        """(f): AutoLR with one decision taken otherwise, and as it is on the same task, by seed."""
        main = self.paper(self.scale.main, MAIN, "autolr")
        other = [self.paper(t, MAIN, "autolr") for t in experiment.with_batchnorm(self.scale)]
        return {
            name: (self.records(specs), other[0] if name == EVALUATION else main)
            for name, specs in experiment.open_runs(self.scale).items()
        }

    def seed_rates(self) -> dict[float, list[Record]]:
        """(c): AutoLR from several seed rates, by their factor; 1.0 is that of (a)."""
        found = {f: self.records(specs) for f, specs in experiment.seed_rate_runs(self.scale).items()}
        return dict(sorted({**found, 1.0: self.paper(self.scale.main, MAIN, "autolr")}.items()))

    def equal_cost(self) -> list[Record]:
        """(d): the longer baseline."""
        return self.records(experiment.equal_cost_runs(self.scale))

    def range_tests(self) -> dict[TaskSpec, list[Record]]:
        """(e): the range tests, by task."""
        tasks = (self.scale.main, *self.scale.few)
        return {task: self.records(experiment.range_runs(self.scale, task)) for task in tasks}

    @cached_property
    def minimum(self) -> float | None:
        """(e): the rate at the range test's lowest loss on the main task."""
        return experiment.range_minimum(self.scale, self.store)

    def default(self) -> list[Record]:
        """(e): one-cycle with a tenth of that rate, by seed."""
        return self._one_cycle(FRACTIONS[0], self.scale.report_seeds)

    def default_trials(self) -> list[Record]:
        """(e): the same on the tuning seeds."""
        return self._one_cycle(FRACTIONS[0], self.scale.tuning_seeds)

    def _one_cycle(self, fraction: float, seeds: Sequence[int]) -> list[Record]:
        if self.minimum is None:
            return []
        return self.records(experiment.one_cycle_runs(self.scale, self.minimum, fraction, seeds))

    @cached_property
    def near(self) -> Choice | None:
        """(e): the best of the larger fractions."""
        return None if self.minimum is None else experiment.near_minimum(self.scale, self.minimum, self.store)

    def near_minimum(self) -> list[Record]:
        """(e): one-cycle with it, by seed."""
        if self.near is None:
            return []
        return self.records(experiment.report_runs(self.scale, "one_cycle_linear", self.near))
