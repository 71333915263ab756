"""The tests of AutoLR's claims about whole trainings, as they were registered, on experiment 06.

Here are those of Tables 4 and 12 to 14 and of the abstract; other schedules and the course of a training have
modules of their own. How their texts are read where they leave something open, decided before any desk run
was made:

- Accuracy is that of the test part after the last step, training loss that of the whole training part; a
  diverged run counts as guessing in accuracies and is left out of losses. Runs are paired by seed.
- The optimizers of Table 4, 13 or 14 are one family: their p values are corrected by Holm, in each direction.
- "At least as good": the test of the difference against -margin. Contradicted: significantly below -margin.
- A claim about "every run" or "every cell" is contradicted by one that breaks it; where a cell is compared
  with a margin, only by one that is significantly beyond it, after Holm.
- t12.insensitive_low: seeds are drawn anew 10,000 times; p is the share of draws in which the range of the
  three lower seed rates is not the smaller one.
- t13.adam_loss: contradicted where, by t-tests of the log ratio, Adam's is below 3 or another one's is
  beyond 2 either way.
- s22.rollback_rare: changes of the rate are raises and falls; every task has to pass.
- appc.cost_measured: cost of all looks at superbatches over that of the steps; of the dearest cell. The
  seconds beside it are the median over seeds of AutoLR's training time over its baseline's; they are not
  judged, since other work may have slowed either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median

import numpy as np

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.experiments.autolr_records import (
    absolute_finding,
    accuracies,
    accuracy,
    hashes,
    rates,
    signed,
)
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules.differences import (
    TESTS,
    Test,
    below,
    better,
    beyond,
    not_worse,
    same,
    worse,
)
from adatune_lite.experiments.autolr_vs_schedules.reading import Cell, Results
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.report.association import share
from adatune_lite.report.statistics import Paired, holm, mean_less
from adatune_lite.runs.record import Record

BOOTSTRAP = 10_000
SEED_RATES = {
    "seedlr_0p05": 0.5,
    "seedlr_0p075": 0.75,
    "seedlr_0p1": 1.0,
    "seedlr_0p125": 1.25,
    "seedlr_0p15": 1.5,
}
"""Claims of Table 12 and their seed rates, in units of the reference."""


def _difference(table: str, optimizer: str) -> None:
    @judge(f"autolr.{table}.{optimizer}.diff")
    def compare(claim: Claim, results: Results) -> Finding:
        """Accuracy of AutoLR minus that of the baseline, one family a table."""
        cells = [results.cell(table, o) for o in OPTIMIZERS]
        pairs = {c.optimizer: pair for c in cells if c is not None and (pair := c.accuracy) is not None}
        if optimizer not in pairs:
            return Finding()
        ours, margin = pairs[optimizer], _margin(claim)
        tested, opposite = (
            dict(
                zip(pairs, holm([TESTS[table][o][k](pair, margin) for o, pair in pairs.items()]), strict=True)
            )
            for k in (0, 1)
        )
        equal, cell = same(ours, margin), results.cell(table, optimizer)
        assert cell is not None
        return Finding(
            passes=tested[optimizer] < ALPHA,
            opposite=opposite[optimizer] < ALPHA,
            equivalent=equal < ALPHA,
            statistic={"difference": ours.difference.mean, "p": tested[optimizer]},
            seeds=len(ours.seeds),
            why=f"AutoLR minus baseline, points: {signed(ours.difference)}; "
            f"p = {tested[optimizer]:.2g} after Holm over {len(pairs)} optimizers; "
            f"p = {ours.greater:.2g} that it is above 0, p = {equal:.2g} that it is outside ±{margin:g}.",
            runs=hashes(cell.records),
        )


def _printed(table: str, optimizer: str, side: str) -> None:
    @judge(f"autolr.{table}.{optimizer}.{side}")
    def compare(claim: Claim, results: Results) -> Finding:
        """A printed accuracy of Table 4, 13 or 14."""
        cell = results.cell(table, optimizer)
        records = getattr(cell, side) if cell else []
        return absolute_finding(claim, records, list(map(accuracy, records)))


for _table in TESTS:
    for _optimizer in OPTIMIZERS:
        _difference(_table, _optimizer)
        for _side in ("baseline", "autolr"):
            _printed(_table, _optimizer, _side)


def _seed_rate(name: str, factor: float) -> None:
    @judge(f"autolr.t12.{name}")
    def compare(claim: Claim, results: Results) -> Finding:
        """A printed accuracy of Table 12."""
        records = results.seed_rates()[factor]
        return absolute_finding(claim, records, list(map(accuracy, records)))


for _name, _factor in SEED_RATES.items():
    _seed_rate(_name, _factor)


@judge("autolr.t12.insensitive_low")
def insensitive_low(claim: Claim, results: Results) -> Finding:
    """Range of the mean accuracies over the three lower seed rates, and over the three higher ones."""
    groups = results.seed_rates()
    found = {factor: accuracies(records) for factor, records in groups.items()}
    runs = hashes(*groups.values())
    seeds = sorted(set.intersection(*(set(values) for values in found.values())))
    if not seeds:
        return Finding(missing=tuple(f"{f:g} of the rate" for f, v in found.items() if not v), runs=runs)
    table = np.array([[values[s] for _, values in sorted(found.items())] for s in seeds])
    drawn = np.random.default_rng(0).integers(len(seeds), size=(BOOTSTRAP, len(seeds)))
    means = table[drawn].mean(1)
    low, high = (float(np.ptp(table.mean(0)[part])) for part in (slice(0, 3), slice(2, 5)))
    lows, highs = np.ptp(means[:, :3], axis=1), np.ptp(means[:, 2:], axis=1)
    p, opposite = float((lows >= highs).mean()), float((lows <= highs).mean())
    margin = _margin(claim)
    return Finding(
        passes=low <= margin and p < ALPHA,
        opposite=opposite < ALPHA,
        statistic={"low": low, "high": high, "p": p},
        seeds=len(seeds),
        why=f"Range of the means {low:.2f} points over the three lower seed rates (margin {margin:g}), "
        f"{high:.2f} over the three higher ones, p = {p:.2g} that the lower is not the smaller.",
        runs=runs,
    )


@judge("autolr.t4.momentum.train_loss")
def cifar_train_loss(_: Claim, results: Results) -> Finding:
    """Log training loss of AutoLR minus that of the staircase: below 0 with momentum, above 0 with SGD."""
    return _losses(results, "t4", ("momentum", "sgd"), {"sgd": (better, below)})


@judge("autolr.t14.train_loss")
def fashion_train_loss(_: Claim, results: Results) -> Finding:
    """Log training loss of AutoLR minus that of the constant rate, every optimizer, after Holm."""
    return _losses(results, "t14", tuple(OPTIMIZERS), {}, adjust=True)


def _losses(
    results: Results,
    table: str,
    optimizers: Sequence[str],
    special: dict[str, tuple[Test, Test]],
    *,
    adjust: bool = False,
) -> Finding:
    pairs = {o: cell.log_loss if (cell := results.cell(table, o)) else None for o in optimizers}
    runs = hashes(*(results.records_of(table, o) for o in optimizers))
    there = {o: pair for o, pair in pairs.items() if pair is not None}
    missing = tuple(o for o in pairs if o not in there)
    if not there or missing:
        return Finding(missing=missing, runs=runs)
    tests = {o: special.get(o, (below, better)) for o in there}
    p_values = [tests[o][0](pair, 0) for o, pair in there.items()]
    if adjust:
        p_values = holm(p_values)
    opposite = holm([tests[o][1](pair, 0) for o, pair in there.items()])
    parts = [
        f"{o} {math.exp(pair.difference.mean):.3g} times the baseline's, p = {p:.2g}"
        for (o, pair), p in zip(there.items(), p_values, strict=True)
    ]
    return Finding(
        passes=max(p_values) < ALPHA,
        opposite=min(opposite) < ALPHA,
        statistic={"p": max(p_values)},
        seeds=min(len(pair.seeds) for pair in there.values()),
        why=f"Training loss of AutoLR: {'; '.join(parts)}{' after Holm' if adjust else ''}.",
        runs=runs,
    )


@judge("autolr.t13.adam_loss")
def mnist_train_loss(_: Claim, results: Results) -> Finding:
    """Training loss of the constant rate over that of AutoLR: above 3 with Adam, else within 0.5 to 2."""
    cells = [c for o in OPTIMIZERS if (c := results.cell("t13", o)) is not None]
    runs = hashes(*(c.records for c in cells))
    pairs = {c.optimizer: pair for c in cells if (pair := c.log_loss) is not None}
    missing = tuple(o for o in OPTIMIZERS if o not in pairs)
    if missing:
        return Finding(missing=missing, runs=runs)
    ratio = {o: math.exp(-pair.difference.mean) for o, pair in pairs.items()}
    others = ("sgd", "momentum")
    wrong = [not_worse(pairs["adam"], math.log(3)), *(beyond(pairs[o], math.log(2)) for o in others)]
    return Finding(
        passes=ratio["adam"] > 3 and all(0.5 <= ratio[o] <= 2 for o in others),
        opposite=min(holm(wrong)) < ALPHA,
        statistic=ratio,
        seeds=min(len(pair.seeds) for pair in pairs.values()),
        why=f"Constant over AutoLR, geometric means: {', '.join(f'{o} {r:.2f}' for o, r in ratio.items())}.",
        runs=runs,
    )


@judge("autolr.abs.match_or_beat")
def match_or_beat(claim: Claim, results: Results) -> Finding:
    """Accuracy of AutoLR minus that of the baseline above -margin in every cell, after Holm."""
    pairs, missing, runs = pairs_of_cells(results)
    if not pairs:
        return Finding(runs=runs, missing=missing)
    margin = _margin(claim)
    p_values = holm([not_worse(pair, margin) for pair in pairs.values()])
    superior = sum(pair.greater < ALPHA for pair in pairs.values())
    return Finding(
        passes=max(p_values) < ALPHA,
        opposite=min(holm([worse(pair, margin) for pair in pairs.values()])) < ALPHA,
        statistic={"p": max(p_values), "cells": len(pairs), "superior": superior},
        seeds=min(len(pair.seeds) for pair in pairs.values()),
        why=f"{sum(p < ALPHA for p in p_values)} of {len(pairs)} cells are at most {margin:g} points worse "
        f"(Holm), {superior} are better: {_listed(pairs)}.",
        missing=missing,
        runs=runs,
    )


@judge("autolr.fig9_20.final_order")
def final_order(claim: Claim, results: Results) -> Finding:
    """Mean difference in accuracy at least 0 or within the margin, in every cell."""
    pairs, missing, runs = pairs_of_cells(results)
    if not pairs:
        return Finding(runs=runs, missing=missing)
    margin = _margin(claim)
    level = [name for name, pair in pairs.items() if pair.difference.mean >= -margin]
    return Finding(
        passes=len(level) == len(pairs),
        opposite=min(holm([worse(pair, margin) for pair in pairs.values()])) < ALPHA,
        statistic={"cells": len(pairs), "level_or_above": len(level)},
        seeds=min(len(pair.seeds) for pair in pairs.values()),
        why=f"{len(level)} of {len(pairs)} cells level with the baseline or above: {_listed(pairs)}.",
        missing=missing,
        runs=runs,
    )


@judge("autolr.fig9_20.explore_drift")
def explore_drift(_: Claim, results: Results) -> Finding:
    """Largest rate in explore over the seed rate, minus 1, of every run."""

    def drift(record: Record) -> float:
        explore = rates(record)[: int(record.spec.get("explore_steps"))]
        return float(explore.max() / record.spec.get("lr") - 1)

    return _every(results.cells(), drift, lambda x: 0 <= x <= 0.05, "the rise of the rate in explore", ".2%")


@judge("autolr.fig15_20.small_range")
def small_range(_: Claim, results: Results) -> Finding:
    """Largest over smallest rate of every run on MNIST and Fashion-MNIST."""

    def ratio(record: Record) -> float:
        found = rates(record)
        return float(found.max() / found.min()) if found.min() > 0 else math.inf

    cells = [c for c in results.cells() if c.table in ("t13", "t14")]
    return _every(cells, ratio, lambda x: x < 4, "the largest over the smallest rate", ".2f")


def _every(
    cells: Sequence[Cell],
    value: Callable[[Record], float],
    holds: Callable[[float], bool],
    what: str,
    form: str,
) -> Finding:
    records = [r for c in cells for r in c.autolr if r.finished]
    if not records:
        return Finding()
    values = [value(r) for r in records]
    held = sum(map(holds, values))
    return Finding(
        passes=held == len(values),
        opposite=held < len(values),
        statistic={"least": min(values), "most": max(values), "share": held / len(values)},
        seeds=min(len(c.autolr) for c in cells if c.autolr),
        why=f"It holds in {held} of {len(values)} runs; {what} goes from {min(values):{form}} to "
        f"{max(values):{form}}.",
        missing=tuple(f"{c.task.dataset} with {c.optimizer}" for c in cells if not c.autolr),
        runs=hashes(records),
    )


@judge("autolr.s22.rollback_rare")
def rollback_rare(_: Claim, results: Results) -> Finding:
    """Rollbacks over changes of the rate, pooled over the runs of each task."""
    pooled: dict[str, list[Record]] = {}
    for cell in results.cells():
        pooled.setdefault(cell.task.dataset, []).extend(r for r in cell.autolr if r.finished)
    runs, found = hashes(*pooled.values()), {}
    for dataset, records in pooled.items():
        changes = sum(r.metrics["raise"] + r.metrics["lower"] for r in records)
        if changes:
            rollbacks = sum(r.metrics["rollback"] for r in records)
            found[dataset] = share(int(min(rollbacks, changes)), int(changes))
    missing = tuple(d for d in pooled if d not in found)
    if not found:
        return Finding(missing=missing, runs=runs)
    return Finding(
        passes=all(s.value < 0.1 and s.high < 0.2 for s in found.values()),
        opposite=any(s.low > 0.1 for s in found.values()),
        statistic={"share": max(s.value for s in found.values())},
        seeds=min(len({r.spec.seed for r in pooled[d]}) for d in found),
        why="Rollbacks of changes: "
        + "; ".join(
            f"{s.k} of {s.n} ({s.value:.0%}, upper bound {s.high:.0%}) on {d}" for d, s in found.items()
        )
        + ".",
        missing=missing,
        runs=runs,
    )


@judge("autolr.appc.cost_measured")
def cost_measured(_: Claim, results: Results) -> Finding:
    """Cost of AutoLR's looks in parts of the training, beside the bound 5 S / (3 W)."""
    scale = results.scale
    bound = overhead(5, scale.superbatch, scale.window) / 100
    cells = [c for c in results.cells() if any(r.finished for r in c.autolr)]
    if not cells:
        return Finding()
    of = {
        f"{c.task.dataset} {c.optimizer}": [
            r.cost["look_steps"] / r.spec.steps for r in c.autolr if r.finished
        ]
        for c in cells
    }
    dearest = max(of, key=lambda name: fmean(of[name]))
    seconds = {f"{c.task.dataset} {c.optimizer}": _slower(c) for c in cells}
    slower = ", ".join(f"{median(found):+.1%} ({name})" for name, found in seconds.items() if found)
    return Finding(
        passes=fmean(of[dearest]) <= bound,
        opposite=min(holm([mean_less([-x for x in values], -bound) for values in of.values()])) < ALPHA,
        statistic={"cost": fmean(of[dearest]), "bound": bound},
        seeds=min(map(len, of.values())),
        why=f"Of the training's cost: {', '.join(f'{fmean(v):.1%} ({n})' for n, v in of.items())}; the bound "
        f"is {bound:.1%}." + (f" In seconds: {slower}." if slower else ""),
        runs=hashes(*(c.records for c in cells)),
    )


def _slower(cell: Cell) -> list[float]:
    """By how much of its baseline's training time AutoLR took longer, for each seed that both finished."""
    theirs = {r.spec.seed: r.cost["training_seconds"] for r in cell.baseline if r.finished}
    ours = {r.spec.seed: r.cost["training_seconds"] for r in cell.autolr if r.finished}
    return [ours[seed] / theirs[seed] - 1 for seed in sorted(ours.keys() & theirs.keys())]


def pairs_of_cells(results: Results) -> tuple[dict[str, Paired], tuple[str, ...], tuple[str, ...]]:
    """AutoLR minus the baseline by cell; cells without it; hashes of the runs of all."""
    pairs = {f"{c.task.dataset} {c.optimizer}": c.accuracy for c in results.cells()}
    there = {name: pair for name, pair in pairs.items() if pair is not None}
    runs = hashes(*(c.records for c in results.cells()))
    return there, tuple(name for name in pairs if name not in there), runs


def _margin(claim: Claim) -> float:
    assert isinstance(claim.equivalence_margin, int | float)
    return float(claim.equivalence_margin)


def _listed(pairs: dict[str, Paired]) -> str:
    return ", ".join(f"{name} {pair.difference.mean:+.2f}" for name, pair in pairs.items())
