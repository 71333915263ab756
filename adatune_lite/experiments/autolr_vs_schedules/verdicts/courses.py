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

from adatune_lite.claims import ALPHA, Claim, Finding, judge, kinds
from adatune_lite.experiments.autolr_records import first_fall
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.autolr_vs_schedules.reading import Results, autolr_by_cell
from adatune_lite.report.statistics import mean_less
from adatune_lite.runs.record import Record

SOON, LATER = 0.1, 0.05
"""Shares of the steps after the first fall of the rate: of Figure 4's claim, and of Figures 10 to 12."""
KEPT = 3
NOISY = 5
"""Mini-batches of a superbatch that is noisy on purpose."""


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


kinds.fit(
    "autolr.fig4.gain_after_drop",
    autolr_by_cell,
    gain_share,
    level=median,
    holds=lambda share: share > 0.5,
    against=lambda shares: mean_less(shares, 0.5),
    says=lambda found: f"Share of the gain, medians: {found.listed('.0%')}.",
    statistic=lambda found: {"least": min(found.level.values()), "cells": len(found.level)},
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


def _count(ratios: list[float]) -> int:
    """Runs whose loss halves."""
    return sum(ratio < 0.5 for ratio in ratios)


def _too_few(ratios: list[float]) -> float:
    """p of the test that these are less than 80 % of the runs."""
    from scipy import stats

    return float(stats.binomtest(_count(ratios), len(ratios), 0.8, alternative="less").pvalue)


kinds.fit(
    "autolr.fig10_12.loss_drop",
    {o: ("t4", o, "autolr") for o in OPTIMIZERS},
    drop_ratio,
    level=lambda ratios: _count(ratios) / len(ratios),
    holds=lambda share: share >= 0.8,
    against=_too_few,
    says=lambda found: (
        "The loss halves in "
        + ", ".join(f"{_count(ratios)} of {len(ratios)} runs with {o}" for o, ratios in found.values.items())
        + "."
    ),
    statistic=lambda found: {"share": min(found.level.values())},
)


@judge("autolr.s22.rollback_helps")
def rollback_helps(_: Claim, results: Results) -> Finding:
    """Fisher's exact test of failed runs without rollback and with it, on noisy superbatches."""
    from scipy import stats

    sides = results["safeguards", "rollback"], results.whole
    if results.scale.superbatch > NOISY:
        return Finding(
            why=f"Its superbatches have {NOISY} mini-batches, those here {results.scale.superbatch}."
        )
    runs = kinds.hashes(*sides)
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


kinds.without_data("autolr.t3.baseline.top1", "No data: it needs ImageNet.")
kinds.without_data("autolr.t3.baseline.top5", "No data: it needs ImageNet.")
kinds.without_data("autolr.t3.autolr.top1", "No data: it needs ImageNet.")
kinds.without_data("autolr.t3.autolr.top5", "No data: it needs ImageNet.")
