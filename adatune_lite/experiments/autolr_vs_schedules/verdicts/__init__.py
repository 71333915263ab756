"""The tests of AutoLR's claims about whole trainings, as they were registered, on experiment 06.

Here are those of Tables 4 and 12 to 14 and of the abstract; printed numbers, other schedules and the course
of a training have modules of their own. How their texts are read where they leave something open, decided
before any desk run was made:

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
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, median

import numpy as np

from adatune_lite.claims import ALPHA, Claim, Finding, judge, kinds
from adatune_lite.claims.kinds import Family, Weighed, hashes, margin_of
from adatune_lite.experiments.autolr_records import accuracy, log_loss, rates
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules.reading import Results, autolr_by_cell
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.report.association import drawn_again, share
from adatune_lite.report.groups import Key
from adatune_lite.report.statistics import Paired, holm, mean_less
from adatune_lite.report.tables import by_seed, signed
from adatune_lite.runs.record import Record

Sides = dict[str, tuple[Key, Key]]


def _told(claim: Claim, pair: Paired, p: float, tests: int) -> str:
    margin = margin_of(claim)
    outside = kinds.same(pair, margin)
    return (
        f"AutoLR minus baseline, points: {signed(pair.difference)}; p = {p:.2g} after Holm over {tests} "
        f"optimizers; p = {pair.greater:.2g} that it is above 0, p = {outside:.2g} that it is outside "
        f"±{margin:g}."
    )


def _of_table(claim_id: str, cell: Key, test: str, family: Family) -> None:
    sides = (*cell, "autolr"), (*cell, "baseline")
    kinds.difference(claim_id, *sides, accuracy, test=test, family=family, says=_told)


_T4, _T13, _T14 = Family(), Family(), Family()
_of_table("autolr.t4.sgd.diff", ("t4", "sgd"), "not worse", _T4)
_of_table("autolr.t4.momentum.diff", ("t4", "momentum"), "not worse", _T4)
_of_table("autolr.t4.adam.diff", ("t4", "adam"), "not worse", _T4)
_of_table("autolr.t13.sgd.diff", ("t13", "sgd"), "same", _T13)
_of_table("autolr.t13.momentum.diff", ("t13", "momentum"), "above", _T13)
_of_table("autolr.t13.adam.diff", ("t13", "adam"), "above", _T13)
_of_table("autolr.t14.sgd.diff", ("t14", "sgd"), "above", _T14)
_of_table("autolr.t14.momentum.diff", ("t14", "momentum"), "above", _T14)
_of_table("autolr.t14.adam.diff", ("t14", "adam"), "above", _T14)


def _sides(cells: Mapping[str, Key]) -> Sides:
    """AutoLR and its baseline by cell."""
    return {name: ((*cell, "autolr"), (*cell, "baseline")) for name, cell in cells.items()}


def _table(table: str, *optimizers: str) -> Sides:
    return _sides({o: (table, o) for o in optimizers or OPTIMIZERS})


def _cells(results: Results) -> Sides:
    return _sides(results.scale.cells)


@judge("autolr.t12.insensitive_low")
def insensitive_low(claim: Claim, results: Results) -> Finding:
    """Range of the mean accuracies over the three lower seed rates, and over the three higher ones."""
    keys = {f"{factor:g} of the rate": ("seed rates", factor) for factor in results.by("seed rates")}
    table, found = kinds.common_seeds(results, keys, accuracy)
    if found.missing:
        return found
    means = drawn_again(table)
    low, high = (float(np.ptp(table.mean(0)[part])) for part in (slice(0, 3), slice(2, 5)))
    lows, highs = np.ptp(means[:, :3], axis=1), np.ptp(means[:, 2:], axis=1)
    p, opposite = float((lows >= highs).mean()), float((lows <= highs).mean())
    margin = margin_of(claim)
    return Finding(
        passes=low <= margin and p < ALPHA,
        opposite=opposite < ALPHA,
        statistic={"low": low, "high": high, "p": p},
        seeds=len(table),
        why=f"Range of the means {low:.2f} points over the three lower seed rates (margin {margin:g}), "
        f"{high:.2f} over the three higher ones, p = {p:.2g} that the lower is not the smaller.",
        runs=found.runs,
    )


def _losses(weighed: Weighed, after: str = "") -> str:
    parts = [
        f"{o} {math.exp(pair.difference.mean):.3g} times the baseline's, p = {weighed.p[o]:.2g}"
        for o, pair in weighed.pairs.items()
    ]
    return f"Training loss of AutoLR: {'; '.join(parts)}{after}."


kinds.ordering(
    "autolr.t4.momentum.train_loss",
    _table("t4", "momentum", "sgd"),
    log_loss,
    lambda _, weighed: _losses(weighed),
    test={"momentum": "below", "sgd": "above"},
    adjust=False,
)
kinds.ordering(
    "autolr.t14.train_loss",
    _table("t14"),
    log_loss,
    lambda _, weighed: _losses(weighed, " after Holm"),
    test="below",
)


def _ratios(weighed: Weighed) -> dict[str, float]:
    """Training loss of the constant rate over that of AutoLR, geometric means."""
    return {o: math.exp(-pair.difference.mean) for o, pair in weighed.pairs.items()}


def _as_printed(ratio: dict[str, float]) -> bool:
    return ratio["adam"] > 3 and all(0.5 <= ratio[o] <= 2 for o in ("sgd", "momentum"))


_LEVEL = replace(kinds.TESTS["same"], opposite=lambda pair, _: kinds.beyond(pair, math.log(2)))
kinds.ordering(
    "autolr.t13.adam_loss",
    _table("t13"),
    log_loss,
    lambda _, weighed: (
        "Constant over AutoLR, geometric means: "
        f"{', '.join(f'{o} {ratio:.2f}' for o, ratio in _ratios(weighed).items())}."
    ),
    test={
        "sgd": _LEVEL,
        "momentum": _LEVEL,
        "adam": replace(kinds.TESTS["below"], opposite=lambda pair, _: kinds.not_worse(pair, math.log(3))),
    },
    passes=lambda _, weighed: len(weighed.pairs) == 3 and _as_printed(_ratios(weighed)),
    statistic=lambda _, weighed: _ratios(weighed),
)


def _listed(pairs: Mapping[str, Paired]) -> str:
    return ", ".join(f"{name} {pair.difference.mean:+.2f}" for name, pair in pairs.items())


def _superior(weighed: Weighed) -> int:
    return sum(pair.greater < ALPHA for pair in weighed.pairs.values())


kinds.ordering(
    "autolr.abs.match_or_beat",
    _cells,
    accuracy,
    lambda claim, weighed: (
        f"{sum(p < ALPHA for p in weighed.p.values())} of {len(weighed.p)} cells are at most "
        f"{margin_of(claim):g} points worse (Holm), {_superior(weighed)} are better: "
        f"{_listed(weighed.pairs)}."
    ),
    test="not worse",
    statistic=lambda _, weighed: {
        "p": max(weighed.p.values()),
        "cells": len(weighed.p),
        "superior": _superior(weighed),
    },
)


def _level(claim: Claim, weighed: Weighed) -> int:
    """Cells in which AutoLR is level with the baseline or above."""
    return sum(pair.difference.mean >= -margin_of(claim) for pair in weighed.pairs.values())


kinds.ordering(
    "autolr.fig9_20.final_order",
    _cells,
    accuracy,
    lambda claim, weighed: (
        f"{_level(claim, weighed)} of {len(weighed.p)} cells level with the baseline or above: "
        f"{_listed(weighed.pairs)}."
    ),
    test="not worse",
    passes=lambda claim, weighed: _level(claim, weighed) == len(weighed.p),
    statistic=lambda claim, weighed: {"cells": len(weighed.p), "level_or_above": _level(claim, weighed)},
)


def _drift(record: Record) -> float:
    """Largest rate in explore over the seed rate, minus 1."""
    explore = rates(record)[: int(record.spec.get("explore_steps"))]
    return float(explore.max() / record.spec.get("lr") - 1)


def _span(record: Record) -> float:
    """Largest over smallest rate."""
    found = rates(record)
    return float(found.max() / found.min()) if found.min() > 0 else math.inf


kinds.every_run(
    "autolr.fig9_20.explore_drift",
    autolr_by_cell,
    _drift,
    lambda drift: 0 <= drift <= 0.05,
    "the rise of the rate in explore",
    ".2%",
)
kinds.every_run(
    "autolr.fig15_20.small_range",
    lambda results: {name: key for name, key in autolr_by_cell(results).items() if key[0] in ("t13", "t14")},
    _span,
    lambda span: span < 4,
    "the largest over the smallest rate",
    ".2f",
)


@judge("autolr.s22.rollback_rare")
def rollback_rare(_: Claim, results: Results) -> Finding:
    """Rollbacks over changes of the rate, pooled over the runs of each task."""
    pooled: dict[str, list[Record]] = {}
    for name, key in autolr_by_cell(results).items():
        pooled.setdefault(name.split()[0], []).extend(r for r in results[key] if r.finished)
    runs, found = hashes(*pooled.values()), {}
    for dataset, records in pooled.items():
        changes = sum(r.metrics["raise"] + r.metrics["lower"] for r in records)
        if changes:
            rollbacks = sum(r.metrics["rollback"] for r in records)
            found[dataset] = share(int(min(rollbacks, changes)), int(changes))
    missing = tuple(d for d in pooled if d not in found)
    if not found:
        return Finding(missing=missing, runs=runs)
    parts = [f"{s.k} of {s.n} ({s.value:.0%}, upper bound {s.high:.0%}) on {d}" for d, s in found.items()]
    return Finding(
        passes=all(s.value < 0.1 and s.high < 0.2 for s in found.values()),
        opposite=any(s.low > 0.1 for s in found.values()),
        statistic={"share": max(s.value for s in found.values())},
        seeds=min(len({r.spec.seed for r in pooled[d]}) for d in found),
        why=f"Rollbacks of changes: {'; '.join(parts)}.",
        missing=missing,
        runs=runs,
    )


@judge("autolr.appc.cost_measured")
def cost_measured(_: Claim, results: Results) -> Finding:
    """Cost of AutoLR's looks in parts of the training, beside the bound 5 S / (3 W)."""
    scale = results.scale
    bound = overhead(5, scale.superbatch, scale.window) / 100
    sides = {name: (results[ours], results[theirs]) for name, (ours, theirs) in _cells(results).items()}
    held = {name: pair for name, pair in sides.items() if any(r.finished for r in pair[0])}
    if not held:
        return Finding()
    of = {
        name: [r.cost["look_steps"] / r.spec.steps for r in ours if r.finished]
        for name, (ours, _) in held.items()
    }
    dearest = max(of, key=lambda name: fmean(of[name]))
    seconds = {name: _slower(*pair) for name, pair in held.items()}
    slower = ", ".join(f"{median(found):+.1%} ({name})" for name, found in seconds.items() if found)
    return Finding(
        passes=fmean(of[dearest]) <= bound,
        opposite=min(holm([mean_less([-x for x in values], -bound) for values in of.values()])) < ALPHA,
        statistic={"cost": fmean(of[dearest]), "bound": bound},
        seeds=min(map(len, of.values())),
        why=f"Of the training's cost: {', '.join(f'{fmean(v):.1%} ({n})' for n, v in of.items())}; the bound "
        f"is {bound:.1%}." + (f" In seconds: {slower}." if slower else ""),
        runs=hashes(*(records for pair in held.values() for records in pair)),
    )


def _slower(ours: list[Record], theirs: list[Record]) -> list[float]:
    """By how much of its baseline's training time AutoLR took longer, for each seed that both finished."""

    def seconds(record: Record) -> float | None:
        return record.cost["training_seconds"] if record.finished else None

    mine, base = by_seed(ours, seconds), by_seed(theirs, seconds)
    return [mine[seed] / base[seed] - 1 for seed in sorted(mine.keys() & base.keys())]
