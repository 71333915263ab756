"""The runs of experiment 03, by what they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from adatune_lite.experiments import autolr_tasks as tasks
from adatune_lite.experiments.autolr_tasks import NETWORKS, OPTIMIZERS, SHORT, base, place, runs
from adatune_lite.report import data
from adatune_lite.report.groups import Group, Key, Page, Role
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.tuners.autolr.settings import TABLE_8

DATASETS = {**data.DATASETS, "mnist5k": "digits"}
FACTORS = (0.1, 0.3)
PLACES = [(d, m) for m in ("mlp", "conv4") for d in ("fashion_mnist", "mnist")] + [("cifar10", "resnet18")]
"""Data set and network of every further task."""


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    main: TaskSpec
    """The task of the headline figures, for every optimizer at its seed rate on every seed."""
    others: tuple[TaskSpec, ...]
    """Further tasks, on the first seed."""
    rates: TaskSpec
    """The task on which the rate is varied, on the first two seeds."""
    epochs: int
    probes: int
    superbatch: int
    """Mini-batches of one probe."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    repeated: tuple[TaskSpec, ...] = ()
    """Those of the further tasks that run on the other seeds too."""
    factors: tuple[float, ...] = FACTORS
    """Rates of `rates`, in units of the seed rate."""


_OTHERS = (tasks.FASHION_MLP, tasks.MLP, tasks.SMALL_RESNET18)
_FULL = (tasks.FULL_CONV4, tasks.FULL_FASHION)
PROFILES: dict[str, Scale] = {
    "smoke": Scale(tasks.SMALL, (), tasks.SMALL, 1, 4, 4, (0,), factors=(0.1,)),
    "quick": Scale(tasks.SMALL, (tasks.SMALL_CONV4,), tasks.SMALL, 2, 16, 4, (0, 1)),
    "desk": Scale(tasks.FASHION_CONV4, _OTHERS, tasks.FASHION_MLP, 5, 50, 3, repeated=_OTHERS[2:]),
    "paper": Scale(tasks.RESNET18, _FULL, tasks.FULL_FASHION, 200, 100, 100),
}

MAIN = Role("main", 100, "every optimizer at its seed rate on the main task")
RATES = Role("rates", 80, "the same on another task at smaller rates")
OTHERS = Role("others", 60, "further tasks on the first seed")
REPEATED = Role("repeated", 40, "and on the other seeds")


def threshold(task: TaskSpec) -> float:
    """r of the trust bound within which R^2 is judged: Table 8's; the embedded digits have MNIST's."""
    return TABLE_8.get(task.dataset, TABLE_8["mnist"]).epsilon_threshold


def groups(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """All groups, in the order of the plan."""
    further = {place(task): task for task in scale.others}
    again = {at: task for at, task in further.items() if task in scale.repeated}
    places = list(dict.fromkeys((*further, *PLACES)))
    group = partial(_group, scale)
    for o in OPTIMIZERS:
        yield group(("main", o), MAIN, scale.main, scale.seeds)
        for factor in (*FACTORS, 1.0):
            task = scale.rates if factor in (*scale.factors, 1.0) else None
            yield group(("rates", o, factor), RATES, task, scale.seeds[:2], factor)
        for at in places:
            yield group(("others", o, *at, "first seed"), OTHERS, further.get(at), scale.seeds[:1])
        for at in places:
            yield group(("others", o, *at, "other seeds"), REPEATED, again.get(at), scale.seeds[1:])


def _group(
    scale: Scale, key: Key, role: Role, task: TaskSpec | None, seeds: Sequence[int], factor: float = 1.0
) -> Group:
    """One optimizer, the second part of the key, on a task, at its seed rate times the factor."""
    if task is None:
        return Group(key, "not run", role)
    optimizer = str(key[1])
    lr = float(f"{factor * base(optimizer, task).lr:.6g}")
    settings = {"lr": lr, "probes": scale.probes, "superbatch": scale.superbatch}
    steps = scale.epochs * (task.train // task.batch)
    specs = runs("quadratic_fit", task, "constant", settings, steps, seeds, optimizer)
    name = f"{DATASETS[task.dataset]}, {NETWORKS[task.model]}, {SHORT[optimizer]}, rate {lr:g}"
    return Group(key, name, role, specs)
