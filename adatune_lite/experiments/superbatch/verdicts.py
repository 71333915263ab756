"""The tests of claims about AutoLR's superbatch, as they were registered, on the records of experiment 04.

How their texts are read where they leave something open, decided before any run on real data was made:

- Every optimizer and network that the claim's data set has must pass; the statistic is that of the worst.
- autolr.fig7.*: the slope as measured, without the correction for draws without repetition; mean and
  interval over seeds.
- autolr.appb.size100_enough: tasks with at least four times 100 mini-batches measured. Of 200 the ratio of
  the two spreads is 1.73 whatever the loss, since two draws of 100 share half of their mini-batches.
- autolr.appc.three_samples, autolr.s22.same_superbatch: at 100 mini-batches, changes of the rate within
  AutoLR's bounds; the median is over the measured steps of all seeds.
- autolr.appc.cost_bound: forward passes as counted in the runs, a third of a step each, for 5 samples of 100
  mini-batches in a window of 1000 steps. A count, no measured time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.experiments.superbatch.reading import (
    NAMES,
    Group,
    Results,
    counted,
    median,
    relative_spread,
    slope,
)
from adatune_lite.report.statistics import mean_interval, mean_less
from adatune_lite.runs.record import Record

SIZES = (1, 2, 5, 10, 20, 50, 100)
STEEPEST, FLATTEST = -0.65, -0.35
RATIO, SPREAD = 1.6, 0.05
DIFFERENCE, AGREE = 0.1, 0.95
COMMON = 0.5
MARGIN = 0.1
"""Percentage points; the claim's margin is a text."""


def _has(group: Group, *sizes: int) -> bool:
    return set(sizes) <= {cell.size for cell in group.cells}


def _runs(groups: Sequence[Group]) -> tuple[str, ...]:
    return tuple(r.spec.hash for group in groups for r in group.records)


def _seeds(groups: Sequence[Group]) -> int:
    return min((len(group.records) for group in groups), default=0)


def _absent(results: Results, held: Sequence[Group], wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """The groups of the plan, on the wanted data sets, that have no finished run."""
    there = {(group.part.task, group.optimizer) for group in held}
    return tuple(
        f"{part.task.dataset} ({part.task.model}), {NAMES[optimizer]}"
        for part in results.scale.parts
        for optimizer in part.optimizers
        if wanted(part.task.dataset) and (part.task, optimizer) not in there
    )


def _name(group: Group) -> str:
    return f"{group.task}, {NAMES[group.optimizer]}"


def _noise(results: Results, datasets: tuple[str, ...], models: tuple[str, ...]) -> Finding:
    """Slope of the log of the spread against the log of the size, over the registered sizes."""
    groups = [g for g in results.groups() if g.part.task.dataset in datasets and g.part.task.model in models]
    missing = _absent(results, groups, lambda dataset: dataset in datasets)
    missing += tuple(f"100 mini-batches of {_name(g)}" for g in groups if not _has(g, *SIZES))
    if missing or not groups:
        return Finding(missing=missing, runs=_runs(groups))
    slopes = {_name(g): [slope(r, SIZES, corrected=False) for r in g.records] for g in groups}
    found = {name: mean_interval(values) for name, values in slopes.items()}
    corrected = {_name(g): float(np.mean([slope(r, SIZES) for r in g.records])) for g in groups}
    worst = max(found, key=lambda name: abs(found[name].mean + 0.5))
    return Finding(
        passes=all(STEEPEST <= i.mean <= FLATTEST and i.high < 0 for i in found.values()),
        opposite=any(mean_less([-s for s in v], -FLATTEST) < ALPHA for v in slopes.values()),
        statistic={"slope": found[worst].mean, "low": found[worst].low, "high": found[worst].high},
        seeds=_seeds(groups),
        why=f"Slope, mean over seeds: "
        f"{'; '.join(f'{n} {i.text(2)} (corrected {corrected[n]:.2f})' for n, i in found.items())}.",
        runs=_runs(groups),
    )


@judge("autolr.fig7.noise_cifar10")
def noise_cifar10(_: Claim, results: Results) -> Finding:
    """On CIFAR-10 with ResNet-18."""
    return _noise(results, ("cifar10",), ("resnet18",))


@judge("autolr.fig7.noise_mnist")
def noise_mnist(_: Claim, results: Results) -> Finding:
    """On MNIST, every network."""
    return _noise(results, ("mnist", "mnist5k"), ("conv4", "mlp"))


@judge("autolr.appb.size100_enough")
def size100_enough(_: Claim, results: Results) -> Finding:
    """Ratio of the spreads of 50 and 100 mini-batches, and the relative spread of 100."""
    parts = [part for part in results.scale.parts if part.superbatch >= 400]
    groups = [g for g in results.groups() if g.part in parts]
    if not parts:
        return Finding(missing=("four times 100 mini-batches",), runs=_runs(results.groups()))
    wanted = {part.task.dataset for part in parts}
    missing = _absent(results, results.groups(), lambda dataset: dataset in wanted)
    if missing or not groups:
        return Finding(missing=missing, runs=_runs(groups))
    ratios = {_name(g): [_ratio(r) for r in g.records] for g in groups}
    spreads = {_name(g): [median(relative_spread([r], 100)) for r in g.records] for g in groups}
    ratio = {name: float(np.median(values)) for name, values in ratios.items()}
    spread = {name: float(np.median(values)) for name, values in spreads.items()}
    return Finding(
        passes=all(ratio[n] <= RATIO and spread[n] <= SPREAD for n in ratio),
        opposite=_above(ratios, RATIO) or _above(spreads, SPREAD),
        statistic={"ratio": max(ratio.values()), "variation": max(spread.values())},
        seeds=_seeds(groups),
        why="Spread of 50 over that of 100 mini-batches, and spread over loss at 100: "
        f"{'; '.join(f'{n} {ratio[n]:.2f}, {spread[n]:.3f}' for n in ratio)}.",
        runs=_runs(groups),
    )


def _ratio(record: Record) -> float:
    return median(relative_spread([record], 50) / relative_spread([record], 100))


def _above(values: Mapping[str, Sequence[float]], limit: float) -> bool:
    """Whether the mean over seeds of one group is above the limit, significantly."""
    return any(mean_less([-v for v in found], -limit) < ALPHA for found in values.values())


@judge("autolr.appc.three_samples")
def three_samples(_: Claim, results: Results) -> Finding:
    """Changes of the rate from 3 samples against those from 5, of the same 100 mini-batches."""
    groups = results.groups()
    missing = _missing_at_100(results, groups)
    if missing or not groups:
        return Finding(missing=missing, runs=_runs(groups))
    by_seed = {_name(g): _medians(g, "samples_difference 100") for g in groups}
    agree = {_name(g): [float(r.series("samples_agree 100")[1].mean()) for r in g.records] for g in groups}
    differ = {_name(g): median(_values(g, "samples_difference 100")) for g in groups}
    share = {name: float(np.mean(values)) for name, values in agree.items()}
    return Finding(
        passes=all(differ[n] <= DIFFERENCE and share[n] >= AGREE for n in differ),
        opposite=_above(by_seed, DIFFERENCE) or any(mean_less(v, AGREE) < ALPHA for v in agree.values()),
        statistic={"difference": max(differ.values()), "agreement": min(share.values())},
        seeds=_seeds(groups),
        why="Median relative difference and share of equal directions: "
        f"{'; '.join(f'{n} {differ[n]:.4f}, {share[n]:.1%}' for n in differ)}.",
        runs=_runs(groups),
    )


@judge("autolr.s22.same_superbatch")
def same_superbatch(_: Claim, results: Results) -> Finding:
    """Variance of the changes with a common superbatch over that with one of its own for every sample."""
    groups = results.groups()
    missing = _missing_at_100(results, groups)
    if missing or not groups:
        return Finding(missing=missing, runs=_runs(groups))
    by_seed = {_name(g): _medians(g, "variance_ratio 100") for g in groups}
    ratio = {_name(g): median(_values(g, "variance_ratio 100")) for g in groups}
    return Finding(
        passes=all(r < COMMON for r in ratio.values()),
        opposite=_above(by_seed, COMMON),
        statistic={"ratio": max(ratio.values())},
        seeds=_seeds(groups),
        why=f"Median ratio of the variances: {'; '.join(f'{n} {r:.2g}' for n, r in ratio.items())}.",
        runs=_runs(groups),
    )


def _missing_at_100(results: Results, groups: Sequence[Group]) -> tuple[str, ...]:
    absent = _absent(results, groups, lambda dataset: True)
    small = tuple(f"100 mini-batches of {_name(g)}" for g in groups if not _has(g, 100))
    empty = tuple(
        f"a value of {name} on {_name(g)}"
        for name in ("samples_difference", "variance_ratio")
        for g in groups
        if _has(g, 100) and not np.isfinite(_values(g, f"{name} 100")).any()
    )
    return absent + small + empty


def _values(group: Group, name: str) -> np.ndarray:
    return np.concatenate([r.series(name)[1] for r in group.records])


def _medians(group: Group, name: str) -> list[float]:
    """The median of each seed that has a finite value."""
    return [m for r in group.records if math.isfinite(m := median(r.series(name)[1]))]


@judge("autolr.appc.cost_bound")
def cost_bound(claim: Claim, results: Results) -> Finding:
    """5 samples of 100 mini-batches in a window of 1000 steps, at the price that the runs counted."""
    records = [r for group in results.groups() for r in group.records]
    runs = tuple(r.spec.hash for r in records)
    if not records:
        return Finding(runs=runs)
    ours, printed = 100 * 500 * counted(records) / 1000, claim.value
    assert isinstance(printed, int | float)
    meets = abs(ours - printed) <= MARGIN
    return Finding(
        passes=meets,
        opposite=not meets,
        statistic={"percent": ours, "printed": float(printed)},
        seeds=len({r.spec.seed for r in records}),
        why=f"Forward passes, each booked as a third of a step: {ours:.2f} % of training, printed "
        f"{printed:g} %. A check of their count, no measured time: that is what `make bench` gives.",
        runs=runs,
    )
