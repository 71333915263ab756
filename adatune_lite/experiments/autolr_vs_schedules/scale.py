"""How large each profile of experiment 06 is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adatune_lite.experiments import autolr_tasks as tasks
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.report.groups import Key
from adatune_lite.tasks.spec import TaskSpec

MAIN = "momentum"
"""The optimizer of all parts but (a)."""
TABLES = {"cifar10": "t4", "mnist": "t13", "mnist5k": "t13", "fashion_mnist": "t14"}
"""The paper's table of a data set; the embedded digits are MNIST's."""


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    epochs: Mapping[TaskSpec, int]
    """The tasks of (a) with their epochs; on the first are all other parts. The paper has 200 epochs for
    CIFAR-10 and 50 for the 4-layer network."""
    window: int
    superbatch: int
    draws: int
    report_seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...] = (100,)
    range_seeds: tuple[int, ...] = (100,)
    range_steps: int = 100
    """Rates that a range test tries."""
    few: Mapping[TaskSpec, int] = field(default_factory=dict)
    """Further tasks of (a) and of the range test, for fewer epochs."""
    printed: bool = False
    """Whether the schedules of Table 9 run at their printed rates too."""

    @property
    def main(self) -> TaskSpec:
        """The task of (b) to (f)."""
        return next(iter(self.epochs))

    @property
    def tables(self) -> dict[str, TaskSpec]:
        """(a): the paper's tables that the profile has, with their tasks."""
        return {TABLES[task.dataset]: task for task in (*self.epochs, *self.few)}

    @property
    def cells(self) -> dict[str, Key]:
        """(a): table and optimizer of every cell that the profile has, by its name."""
        of = self.tables.items()
        return {f"{task.dataset} {o}": (table, o) for table, task in of for o in OPTIMIZERS}

    @property
    def with_batchnorm(self) -> TaskSpec | None:
        """The first task of (a) whose network has BatchNorm, if there is one: for (f)'s evaluation mode."""
        return next((task for task in (*self.few, *self.epochs) if task.model == "resnet18"), None)

    def steps_of(self, task: TaskSpec) -> int:
        """Steps of a training."""
        return {**self.epochs, **self.few}[task] * (task.train // task.batch)

    def whole(self, task: TaskSpec | None = None) -> Key:
        """The key of AutoLR as it is, on the main task or another: what its parts are compared with."""
        return TABLES[(task or self.main).dataset], MAIN, "autolr"


_FIVE = (0, 1, 2, 3, 4)
PROFILES: dict[str, Scale] = {
    "smoke": Scale({tasks.TINY: 1}, 5, 2, 1, (0,), range_steps=20),
    "quick": Scale({tasks.SMALL: 2}, 40, 4, 2, (0, 1), range_steps=80),
    "desk": Scale(
        {tasks.FASHION_CONV4: 10, tasks.CONV4: 10},
        *(39, 4, 5, _FIVE, (100, 101), (100, 101, 102)),
        few={tasks.SMALL_RESNET18: 7},
    ),
    "paper": Scale(
        {tasks.RESNET18: 200, tasks.FULL_FASHION: 50, tasks.FULL_CONV4: 50},
        *(1000, 100, 10, (*_FIVE, 5, 6), (100, 101), (100, 101, 102, 103, 104)),
        printed=True,
    ),
}
