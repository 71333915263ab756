"""Experiment 03: is the loss a parabola along the optimizer's step? (AutoLR, Figures 1, 5, 6, Appendix A)

The paper shows examples. Here the loss is measured on a grid along steps of whole trainings at a constant
rate, each on a superbatch of its own: held-out R^2, error at the predicted minimum and radius of validity,
against step, rate, optimizer and network.

The desk profile is smaller than the paper's: 10,000 images, 5 epochs, superbatches of 3 mini-batches in place
of 100; the rate is varied and the data set changed on few seeds. Network, data set and superbatch are shrunk
because every probe costs 21 losses on its superbatch.

CIFAR-10 on a ResNet-18 with an eighth of the channels, the task of Figure 5, was added when the results on
the other tasks were known, first one seed of each optimizer, then four more: a run takes more than 10
minutes. What all took is on the page, from their records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adatune_lite.experiments.autolr_tasks import (
    FASHION_CONV4,
    FASHION_MLP,
    FULL_CONV4,
    FULL_FASHION,
    MLP,
    OPTIMIZERS,
    RESNET18,
    SMALL,
    SMALL_CONV4,
    SMALL_RESNET18,
    base,
)
from adatune_lite.report.reading import planned_once
from adatune_lite.report.search import Reader
from adatune_lite.runs.worker import Planned
from adatune_lite.tasks.spec import TaskSpec, pairs
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.autolr.settings import TABLE_8

if TYPE_CHECKING:
    from adatune_lite.experiments.quadratic_fit.reading import Results

NAME = "03_quadratic_fit"
TITLE = "Is the loss a parabola along the step?"


def threshold(task: TaskSpec) -> float:
    """r of the trust bound within which R^2 is judged: Table 8's; the embedded digits have MNIST's."""
    return TABLE_8.get(task.dataset, TABLE_8["mnist"]).epsilon_threshold


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    main: TaskSpec
    """The task of the headline figures, for every optimizer at its seed rate on every seed."""
    others: tuple[TaskSpec, ...]
    """Further tasks, on the first seed."""
    rates: TaskSpec
    """The task on which the rate is varied, on the first two seeds."""
    factors: tuple[float, ...]
    """Rates of it, in units of the seed rate."""
    epochs: int
    probes: int
    superbatch: int
    """Mini-batches of one probe."""
    seeds: tuple[int, ...]
    repeated: tuple[TaskSpec, ...] = ()
    """Those of the further tasks that run on the other seeds too."""


PROFILES: dict[str, Scale] = {
    "smoke": Scale(SMALL, (), SMALL, (0.1,), 1, 4, 4, (0,)),
    "quick": Scale(SMALL, (SMALL_CONV4,), SMALL, (0.1, 0.3), 2, 16, 4, (0, 1)),
    "desk": Scale(
        FASHION_CONV4,
        (FASHION_MLP, MLP, SMALL_RESNET18),
        FASHION_MLP,
        (0.1, 0.3),
        5,
        50,
        3,
        (0, 1, 2, 3, 4),
        repeated=(SMALL_RESNET18,),
    ),
    "paper": Scale(
        RESNET18, (FULL_CONV4, FULL_FASHION), FULL_FASHION, (0.1, 0.3), 200, 100, 100, (0, 1, 2, 3, 4)
    ),
}

_PRIORITY = {"main": 100, "rates": 80, "others": 60, "repeated": 40}


def _run(scale: Scale, task: TaskSpec, optimizer: str, factor: float, seed: int) -> RunSpec:
    start = base(optimizer, task)
    lr = float(f"{factor * start.lr:.6g}")
    settings = {"lr": lr, "probes": scale.probes, "superbatch": scale.superbatch}
    return RunSpec(
        function="quadratic_fit",
        task=task,
        method="constant",
        steps=scale.epochs * (task.train // task.batch),
        seed=seed,
        settings=pairs(settings),
        optimizer=start.optimizer,
        optimizer_settings=start.options,
        detail="summary",  # The lines are the record; the constant rate is known.
    )


def main_runs(scale: Scale, optimizer: str) -> list[RunSpec]:
    """One optimizer at its seed rate on the main task."""
    return [_run(scale, scale.main, optimizer, 1.0, seed) for seed in scale.seeds]


def rate_runs(scale: Scale, optimizer: str) -> dict[float, list[RunSpec]]:
    """One optimizer at several rates, keyed by the factor on its seed rate."""
    return {
        factor: [_run(scale, scale.rates, optimizer, factor, seed) for seed in scale.seeds[:2]]
        for factor in (*scale.factors, 1.0)
    }


def other_runs(scale: Scale, optimizer: str) -> list[RunSpec]:
    """One optimizer at its seed rate on each of the other tasks."""
    return [_run(scale, task, optimizer, 1.0, scale.seeds[0]) for task in scale.others]


def repeated_runs(scale: Scale, optimizer: str) -> list[RunSpec]:
    """One optimizer at its seed rate on the further tasks that have the other seeds too."""
    return [_run(scale, task, optimizer, 1.0, seed) for task in scale.repeated for seed in scale.seeds[1:]]


def _stages(scale: Scale) -> Iterator[tuple[str, Sequence[RunSpec]]]:
    for optimizer in OPTIMIZERS:
        yield "main", main_runs(scale, optimizer)
        for specs in rate_runs(scale, optimizer).values():
            yield "rates", specs
        yield "others", other_runs(scale, optimizer)
        yield "repeated", repeated_runs(scale, optimizer)


def plan(profile: str, store: Reader) -> list[Planned]:
    """All runs of a profile."""
    return planned_once(_stages(PROFILES[profile]), NAME, profile, _PRIORITY)


def results(profile: str, store: Reader) -> Results:
    """What the records of a profile say."""
    from adatune_lite.experiments.quadratic_fit.reading import Results

    return Results(profile, store)
