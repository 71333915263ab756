"""What the records of experiment 04 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adatune_lite.experiments import superbatch as experiment
from adatune_lite.experiments.superbatch import ALIKE, NEAR, Part, Scale, overhead, sizes
from adatune_lite.report.reading import Reading
from adatune_lite.report.search import Reader
from adatune_lite.runs.record import Record
from adatune_lite.training.quadratic import bound

SAMPLES = (5, 3)
NAMES = {"sgd": "SGD", "momentum": "momentum", "adam": "Adam"}
DATASETS = {
    "mnist": "MNIST",
    "mnist5k": "the embedded MNIST digits",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
}
NETWORKS = {"mlp": "dense", "conv4": "4-layer", "resnet18": "ResNet-18"}


@dataclass(frozen=True)
class Cell:
    """One size of the superbatch: medians over the probes of all seeds; shares and distances are means."""

    size: int
    loss_std: float
    """Relative to the loss."""
    agree: dict[int, float]
    """By samples: share of draws with the sign of the reference's move."""
    error: dict[int, float]
    """By samples: median distance of the moves to the reference's, in units of the rate; mean over probes,
    since at most of them the bounds make both moves the same."""
    cost: dict[int, float]
    """By samples: percent of training in explore, at a window of 1000 steps."""
    samples_agree: float
    samples_difference: float
    """3 samples against 5 of the same superbatch, relative."""
    variance_ratio: float
    """Variance of the moves with a common superbatch over that with one for every sample."""

    def alike(self, samples: int) -> bool:
        """Whether it decides as the reference does."""
        return self.agree[samples] >= ALIKE and self.error[samples] <= NEAR


@dataclass(frozen=True)
class Group:
    """One optimizer on one task."""

    part: Part
    optimizer: str
    records: list[Record]
    cells: list[Cell]
    slopes: list[float]
    """By seed: slope of log spread against log size, corrected (-1/2 for independent mini-batches)."""
    raw_slopes: list[float]
    """The same as measured."""

    @property
    def task(self) -> str:
        """The task in a few words."""
        return f"{DATASETS[self.part.task.dataset]}, {NETWORKS[self.part.task.model]} network"

    def smallest(self, samples: int) -> Cell | None:
        """The smallest superbatch from which on all decide as the reference does."""
        found = None
        for cell in reversed(self.cells):
            if not cell.alike(samples):
                break
            found = cell
        return found


class Results(Reading[Scale]):
    """Records of one profile, by what they are for."""

    def __init__(self, profile: str, store: Reader) -> None:
        super().__init__(experiment, profile, store)

    def groups(self) -> list[Group]:
        """Every task and optimizer that has finished runs."""
        out = []
        for part in self.scale.parts:
            for optimizer in part.optimizers:
                records = self.records(experiment.part_runs(self.scale, part, optimizer))
                finished = [r for r in records if r.finished]
                if finished:
                    cells = [cell(finished, size) for size in sizes(part)]
                    slopes, raw = (
                        [slope(r, sizes(part), corrected=c) for r in finished] for c in (True, False)
                    )
                    out.append(Group(part, optimizer, finished, cells, slopes, raw))
        return out

    def by_task(self) -> dict[str, list[Group]]:
        """The groups by task, in the order of the plan."""
        out: dict[str, list[Group]] = {}
        for group in self.groups():
            out.setdefault(group.task, []).append(group)
        return out


def cell(records: Sequence[Record], size: int) -> Cell:
    """One size, over the probes of these runs."""

    def values(name: str) -> np.ndarray:
        return np.concatenate([r.series(f"{name} {size}")[1] for r in records])

    return Cell(
        size,
        median(relative_spread(records, size)),
        {n: float(values(f"agree_{n}").mean()) for n in SAMPLES},
        {n: float(values(f"error_{n}").mean()) for n in SAMPLES},
        {n: overhead(n, size) for n in SAMPLES},
        float(values("samples_agree").mean()),
        median(values("samples_difference")),
        median(values("variance_ratio")),
    )


def counted(records: Sequence[Record]) -> float:
    """Cost of one sample of one mini-batch in training steps, as the runs counted it; NaN without runs.

    A run looks at its mini-batches at 5 samples of every probe. Training books each look as a third of a
    step, so that anything but a third means looks that were missed or counted twice; it is no time.
    """
    passes = [5 * int(r.spec.get("superbatch")) * int(r.spec.get("probes")) for r in records if r.finished]
    looks = [r.cost["look_steps"] for r in records if r.finished]
    return sum(looks) / sum(passes) if passes else math.nan


def at_bound(record: Record) -> np.ndarray:
    """By probe: whether the reference's move is AutoLR's bound, up or down."""
    threshold = record.spec.get("epsilon_threshold") or None
    lrs, losses, moves = (record.series(name)[1] for name in ("probe_lr", "loss", "move"))
    most = [bound(lr, loss, threshold) for lr, loss in zip(lrs, losses, strict=True)]
    return np.isclose(np.abs(moves), most, rtol=1e-6)  # Records keep 9 digits.


def relative_spread(records: Sequence[Record], size: int) -> np.ndarray:
    """Standard deviation over the draws of the loss of a superbatch, over the loss; one value a probe."""
    return np.concatenate([r.series(f"loss_std {size}")[1] / r.series("loss")[1] for r in records])


def slope(record: Record, of: Sequence[int], *, corrected: bool = True) -> float:
    """Slope of the log of the loss's spread against the log of the size, over the sizes, mean over probes.

    Sizes that are a large part of the mini-batches measured fall faster, since none is drawn twice.
    corrected: their spread is divided by sqrt(1 - size / measured).
    """
    measured = int(record.spec.get("superbatch"))
    shares = [1 - s / measured if corrected else 1.0 for s in of]
    spreads = [record.series(f"loss_std {s}")[1] / math.sqrt(x) for s, x in zip(of, shares, strict=True)]
    logs = np.log(np.array(spreads))
    return float(np.polynomial.polynomial.polyfit(np.log(of), logs.mean(1), 1)[1])


def median(values: np.ndarray) -> float:
    """The median of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan
