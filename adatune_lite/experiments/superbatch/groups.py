"""The runs of experiment 04, by task and optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from adatune_lite.experiments import autolr_tasks as tasks
from adatune_lite.experiments.autolr_tasks import FULL_CONV4, NETWORKS, OPTIMIZERS, SHORT, base, place, runs
from adatune_lite.report import data
from adatune_lite.report.groups import Group, Page, Role
from adatune_lite.tasks.spec import TaskSpec, Value

_MLP_55 = TaskSpec("mnist", train=55_000, validation=2000, test=10_000, batch=tasks.BATCH)
_CONV4_30 = TaskSpec("mnist", train=30_000, validation=2000, test=10_000, model="conv4", batch=tasks.BATCH)

DATASETS = {**data.DATASETS, "mnist5k": "the embedded MNIST digits"}
SAMPLES = (5, 3)
ALIKE = 0.95
"""Share of draws whose move has the reference's sign, from which on a superbatch "decides alike"."""
NEAR = 0.1
"""And the largest distance of its moves to the reference's, in units of the rate: a median over the draws,
a mean over the steps measured."""

PLACES = (("cifar10", "resnet18"), ("mnist", "conv4"), ("mnist", "mlp"), ("fashion_mnist", "conv4"))
"""Data set and network of every task: with the optimizer, the keys of the groups."""


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    tasks: Mapping[TaskSpec, int]
    """With the mini-batches that are measured, the reference; sizes up to half of them are compared."""
    steps: int
    probes: int
    draws: int
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    alone: tuple[TaskSpec, ...] = ()
    """Tasks that have momentum alone."""

    def optimizers(self, task: TaskSpec) -> tuple[str, ...]:
        """Those that are run on a task."""
        return ("momentum",) if task in self.alone else tuple(OPTIMIZERS)


PROFILES: dict[str, Scale] = {
    "smoke": Scale({tasks.SMALL: 20}, 80, 2, 10, (0,), alone=(tasks.SMALL,)),
    "quick": Scale({tasks.SMALL: 80}, 240, 4, 30, (0, 1)),
    "desk": Scale({_CONV4_30: 200, _MLP_55: 400}, 400, 5, 50, alone=(_CONV4_30,)),
    "paper": Scale(
        {tasks.RESNET18: 350, FULL_CONV4: 400, tasks.FULL_FASHION: 400},
        *(20 * (FULL_CONV4.train // tasks.BATCH), 20, 100),
    ),
}

MAIN = Role("main", lambda spec: 100.0 - spec.seed, "decisions along trainings; the first seeds first")


def overhead(samples: int, superbatch: int, window: float = 1000) -> float:
    """Cost of explore in percent of training: a forward pass is a third of a step (Appendix C)."""
    return 100 * samples * superbatch / (3 * window)


def task_name(task: TaskSpec) -> str:
    """Data set and network in a few words."""
    return f"{DATASETS[task.dataset]}, {NETWORKS[task.model]} network"


def groups(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """All groups, in the order of the plan."""
    there = {place(task): task for task in scale.tasks}
    for at, optimizer in product(PLACES, OPTIMIZERS):
        task = there.get(at)
        if task is None or optimizer not in scale.optimizers(task):
            yield Group((*at, optimizer), "not run", MAIN)
            continue
        settings: dict[str, Value] = {
            "lr": base(optimizer, task).lr,
            "probes": scale.probes,
            "superbatch": scale.tasks[task],
            "draws": scale.draws,
            "epsilon_threshold": 5e-3 if task.dataset.startswith("cifar") else 1e-3,  # Table 8
        }
        specs = runs("superbatch_size", task, "constant", settings, scale.steps, scale.seeds, optimizer)
        yield Group((*at, optimizer), f"{task_name(task)}, {SHORT[optimizer]}", MAIN, specs)
