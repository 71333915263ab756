"""Experiment 04: how large must AutoLR's superbatch be? (AutoLR, Figure 7, Appendices B and C)

The paper shows how the loss's spread falls with the size of the superbatch, and says that 50 mini-batches and
3 samples would do in place of 100 and 5. Here the decisions are compared: at steps of trainings at a constant
rate, moves from superbatches of 1 to 100 mini-batches and more, from 5 samples and from 3, against the move
from all mini-batches that are measured; and the smallest superbatch that decides alike, with its cost.

The desk profile has one optimizer on the 4-layer network and a dense one for all three, 400 steps, 5 probes.
The paper profile has all three on ResNet-18 (CIFAR-10) and on the 4-layer network, 20 epochs, 20 probes. A
probe costs five losses on every mini-batch measured. What the runs took is on the page, from their records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adatune_lite.experiments.autolr_tasks import (
    BATCH,
    FULL_CONV4,
    FULL_FASHION,
    OPTIMIZERS,
    RESNET18,
    SMALL,
    base,
)
from adatune_lite.report.search import Reader
from adatune_lite.runs.worker import Planned
from adatune_lite.tasks.spec import TaskSpec, pairs
from adatune_lite.training.probes import SIZES
from adatune_lite.training.spec import RunSpec

if TYPE_CHECKING:
    from adatune_lite.experiments.superbatch.reading import Results

NAME = "04_superbatch"
TITLE = "How large must the superbatch be?"

ALIKE = 0.95
"""Share of draws whose move has the reference's sign, from which on a superbatch "decides alike"."""
NEAR = 0.1
"""And the largest distance of its moves to the reference's, in units of the rate: a median over the draws,
a mean over the steps measured."""

_MLP_55 = TaskSpec("mnist", train=55_000, validation=2000, test=10_000, batch=BATCH)
_CONV4_30 = TaskSpec("mnist", train=30_000, validation=2000, test=10_000, model="conv4", batch=BATCH)


@dataclass(frozen=True)
class Part:
    """One task with the optimizers and seeds that are run on it."""

    task: TaskSpec
    optimizers: tuple[str, ...]
    seeds: tuple[int, ...]
    superbatch: int
    """Mini-batches measured, the reference; sizes up to half of them are compared."""


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    parts: tuple[Part, ...]
    steps: int
    probes: int
    draws: int


_ALL = tuple(OPTIMIZERS)
_FIVE = (0, 1, 2, 3, 4)

PROFILES: dict[str, Scale] = {
    "smoke": Scale((Part(SMALL, ("momentum",), (0,), 20),), 80, 2, 10),
    "quick": Scale((Part(SMALL, _ALL, (0, 1), 80),), 240, 4, 30),
    "desk": Scale((Part(_CONV4_30, ("momentum",), _FIVE, 200), Part(_MLP_55, _ALL, _FIVE, 400)), 400, 5, 50),
    "paper": Scale(
        (
            Part(RESNET18, _ALL, _FIVE, 350),
            Part(FULL_CONV4, _ALL, _FIVE, 400),
            Part(FULL_FASHION, _ALL, _FIVE, 400),
        ),
        20 * (FULL_CONV4.train // BATCH),
        20,
        100,
    ),
}


def part_runs(scale: Scale, part: Part, optimizer: str) -> list[RunSpec]:
    """One optimizer on one task, by seed."""
    start = base(optimizer, part.task)
    settings = {
        "lr": start.lr,
        "probes": scale.probes,
        "superbatch": part.superbatch,
        "draws": scale.draws,
        "epsilon_threshold": 5e-3 if part.task.dataset.startswith("cifar") else 1e-3,  # Table 8
    }
    return [
        RunSpec(
            function="superbatch_size",
            task=part.task,
            method="constant",
            steps=scale.steps,
            seed=seed,
            settings=pairs(settings),
            optimizer=start.optimizer,
            optimizer_settings=start.options,
            detail="summary",
        )
        for seed in part.seeds
    ]


def sizes(part: Part) -> list[int]:
    """The superbatches that are compared, in mini-batches."""
    return [size for size in SIZES if 2 * size <= part.superbatch]


def overhead(samples: int, superbatch: int, window: float = 1000) -> float:
    """Cost of explore in percent of training: a forward pass is a third of a step (Appendix C)."""
    return 100 * samples * superbatch / (3 * window)


def _stages(scale: Scale) -> Iterator[Sequence[RunSpec]]:
    for part in scale.parts:
        for optimizer in part.optimizers:
            yield part_runs(scale, part, optimizer)


def plan(profile: str, store: Reader) -> list[Planned]:
    """All runs of a profile; the first seeds first."""
    specs = [spec for group in _stages(PROFILES[profile]) for spec in group]
    return [Planned(spec, NAME, profile, "main", 100.0 - spec.seed) for spec in specs]


def results(profile: str, store: Reader) -> Results:
    """What the records of a profile say."""
    from adatune_lite.experiments.superbatch.reading import Results

    return Results(profile, store)
