"""The tests of what AutoLR's paper says of the course of a training (Figures 4, 10 to 12), on experiment 06.

How their texts are read where they leave something open, decided before any desk run was made:

- fig4.gain_after_drop: the metric is the validation accuracy, which a record has at 16 places of the run,
  with straight lines between them. A run whose rate never falls, or which gains nothing after explore, has a
  share of 0; shares are cut to 0 and 1. Every cell has to pass. Contradicted: the mean share of a cell is
  below 0.5, by a t-test, after Holm.
- fig10_12.loss_drop: CIFAR-10 alone. A loss is the mean of the three kept mini-batches up to the fall, or
  from 5 % of the steps later on; a run whose rate never falls, or falls so late that none are kept, does not
  show it. Contradicted: a share below 80 %, by the binomial test, after Holm.
- s22.rollback_helps: (c), AutoLR with and without rollback on one seed rate, where a superbatch has at most
  the 5 mini-batches of the claim. The median is that of all these runs; a diverged run failed.
- Table 3 needs ImageNet, of which there are no data; only AutoLR against a staircase has a substitute (05).
"""

from __future__ import annotations

import math
from statistics import fmean, median

import numpy as np

from adatune_lite.claims import ALPHA, Claim, Finding, judge
from adatune_lite.experiments.autolr_records import first_fall, hashes
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules import MAIN
from adatune_lite.experiments.autolr_vs_schedules.reading import Cell, Results
from adatune_lite.report.statistics import holm, mean_less
from adatune_lite.runs.record import Record

SOON, LATER = 0.1, 0.05
"""Shares of the steps after the first fall of the rate: of Figure 4's claim, and of Figures 10 to 12."""
KEPT = 3
NOISY = 5
"""Mini-batches of a superbatch that is noisy on purpose."""


def _cells(results: Results, table: str = "") -> dict[str, tuple[Cell, list[Record]]]:
    """Cells with finished runs of AutoLR, by name."""
    held = {f"{c.task.dataset} {c.optimizer}": c for c in results.cells() if c.table == table or not table}
    return {n: (c, found) for n, c in held.items() if (found := [r for r in c.autolr if r.finished])}


def gain_share(record: Record) -> float:
    """Share of the gain in validation accuracy after explore that comes soon after the first fall."""
    fall, explore = first_fall(record), int(record.spec.get("explore_steps"))
    steps, values = record.series("validation_accuracy")

    def at(step: float) -> float:
        return float(np.interp(step, steps, values))

    gain = at(record.spec.steps) - at(explore)
    if fall is None or gain <= 0:
        return 0.0
    soon = at(fall + SOON * record.spec.steps) - at(fall)
    return min(1.0, max(0.0, soon / gain))


@judge("autolr.fig4.gain_after_drop")
def gain_after_drop(_: Claim, results: Results) -> Finding:
    """Median over seeds of `gain_share`, in every cell."""
    held = _cells(results)
    if not held:
        return Finding()
    shares = {name: list(map(gain_share, records)) for name, (_, records) in held.items()}
    medians = {name: median(found) for name, found in shares.items()}
    return Finding(
        passes=all(m > 0.5 for m in medians.values()),
        opposite=min(holm([mean_less(found, 0.5) for found in shares.values()])) < ALPHA,
        statistic={"least": min(medians.values()), "cells": len(medians)},
        seeds=min(map(len, shares.values())),
        why="Share of the gain, medians: " + ", ".join(f"{n} {m:.0%}" for n, m in medians.items()) + ".",
        missing=tuple(f"{c.task.dataset} with {c.optimizer}" for c in results.cells() if not c.autolr),
        runs=hashes(*(records for _, records in held.values())),
    )


def drop_ratio(record: Record) -> float:
    """Training loss after the first fall of the rate over that before it; infinite where there is none."""
    fall = first_fall(record)
    if fall is None:
        return math.inf
    steps, losses = record.series("train_loss")
    before = losses[steps < fall][-KEPT:]
    after = losses[steps >= fall + LATER * record.spec.steps][:KEPT]
    return fmean(after) / fmean(before) if len(before) and len(after) else math.inf


@judge("autolr.fig10_12.loss_drop")
def loss_drop(_: Claim, results: Results) -> Finding:
    """Share of the runs on CIFAR-10 whose training loss halves after the first fall."""
    from scipy import stats

    held = _cells(results, "t4")
    of = {c.optimizer: list(map(drop_ratio, records)) for c, records in held.values()}
    if not of:
        return Finding()
    counts = {name: sum(ratio < 0.5 for ratio in found) for name, found in of.items()}
    p_values = [
        float(stats.binomtest(k, len(of[n]), 0.8, alternative="less").pvalue) for n, k in counts.items()
    ]
    return Finding(
        passes=all(k >= 0.8 * len(of[n]) for n, k in counts.items()),
        opposite=min(holm(p_values)) < ALPHA,
        statistic={"share": min(k / len(of[n]) for n, k in counts.items())},
        seeds=min(map(len, of.values())),
        why="The loss halves in "
        + ", ".join(f"{k} of {len(of[n])} runs with {n}" for n, k in counts.items())
        + ".",
        missing=tuple(o for o in OPTIMIZERS if o not in of),
        runs=hashes(*(records for _, records in held.values())),
    )


@judge("autolr.s22.rollback_helps")
def rollback_helps(_: Claim, results: Results) -> Finding:
    """Fisher's exact test of failed runs without rollback and with it, on noisy superbatches."""
    from scipy import stats

    sides = results.safeguards()["rollback"], results.paper(results.scale.main, MAIN, "autolr")
    if results.scale.superbatch > NOISY:
        return Finding(
            why=f"Its superbatches have {NOISY} mini-batches, those here {results.scale.superbatch}."
        )
    runs = hashes(*sides)
    if not all(sides):
        return Finding(missing=("AutoLR with and without rollback",), runs=runs)
    losses = [r.metrics["train_loss"] for side in sides for r in side if r.finished]
    limit = 2 * median(losses) if losses else 0.0
    failed = [sum(not r.finished or r.metrics["train_loss"] > limit for r in side) for side in sides]
    counts = [[k, len(side) - k] for k, side in zip(failed, sides, strict=True)]
    p, opposite = (float(stats.fisher_exact(counts, side).pvalue) for side in ("greater", "less"))
    return Finding(
        passes=p < ALPHA,
        opposite=opposite < ALPHA,
        statistic={"difference": failed[0] / len(sides[0]) - failed[1] / len(sides[1]), "p": p},
        seeds=min(map(len, sides)),
        why=f"Superbatches of {results.scale.superbatch}: {failed[0]} of {len(sides[0])} runs fail without "
        f"rollback, {failed[1]} of {len(sides[1])} with it, p = {p:.2g} that it is more.",
        runs=runs,
    )


def _no_data(name: str) -> None:
    @judge(f"autolr.t3.{name}")
    def compare(_: Claim, __: Results) -> Finding:
        """A printed accuracy of Table 3."""
        return Finding(why="No data: it needs ImageNet.")


for _side in ("baseline", "autolr"):
    for _top in ("top1", "top5"):
        _no_data(f"{_side}.{_top}")
