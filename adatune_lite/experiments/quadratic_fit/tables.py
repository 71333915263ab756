"""The tables and sentences of experiment 03, in Markdown, every number from records."""

from __future__ import annotations

import math

import numpy as np

from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.quadratic_fit import PROFILES, threshold
from adatune_lite.experiments.quadratic_fit.reading import (
    DATASETS,
    NAMES,
    NETWORKS,
    Results,
    Row,
    inside,
    outside,
)
from adatune_lite.report.data import copy_note
from adatune_lite.training.quadratic import SAMPLES

NONE = "*No records yet.*"


def setting(results: Results) -> str:
    """What this page shows, what is reduced, and what was shrunk to fit the budget."""
    scale, task, paper = results.scale, results.scale.main, PROFILES["paper"]
    others = ", ".join(f"{DATASETS[t.dataset]} with the {NETWORKS[t.model]} network" for t in scale.others)
    factors = " and ".join(f"{f:g}" for f in scale.factors)
    data = "the embedded MNIST digits" if task.dataset == "mnist5k" else DATASETS[task.dataset]
    text = (
        f"**This page** ({results.profile}). {task.train:,} images of {data}, the "
        f"{NETWORKS[task.model]} network, batches of {task.batch}, {scale.epochs} epochs at a constant rate, "
        f"{len(scale.seeds)} seeds; the loss along the step is measured at {scale.probes} steps, each time "
        f"on a superbatch of {scale.superbatch} mini-batches. The rate is varied by {factors} on "
        f"{DATASETS[scale.rates.dataset]} ({NETWORKS[scale.rates.model]}) with {len(scale.seeds[:2])} seeds"
    )
    text += f"; also, on one seed: {others}." if others else "."
    bounds = {DATASETS[t.dataset]: threshold(t) for t in (task, scale.rates, *scale.others)}
    text += " The trust bound has "
    text += ", ".join(
        f"r = {r:g} on {' and '.join(d for d, found in bounds.items() if found == r)}"
        for r in sorted(set(bounds.values()))
    )
    text += "."
    if results.profile != "paper":
        text += (
            f" This is a reduced scale. Shrunk against the paper's: {DATASETS[paper.main.dataset]} with "
            f"{NETWORKS[paper.main.model]} to the network above, {paper.epochs} epochs to {scale.epochs}, "
            f"and superbatches of {paper.superbatch} mini-batches to {scale.superbatch}."
        )
    if results.profile in ("smoke", "quick"):
        text += " It shows that the code runs, not what the setting gives."
    if note := copy_note(results.all_records()):
        text += f" {note}"
    count = results.missing()
    if count:
        text += f" **Not all runs are made yet**; missing: {count}."
    return text


def fits(results: Results) -> str:
    """Every task, optimizer and rate: held-out R^2, error at the minimum, radius."""
    rows = results.table()
    if not rows:
        return NONE
    lines = [
        "| runs that differ in the seed alone | runs (diverged) | steps measured | R² (10 % quantile) | "
        "R² in the rate itself | error at minima inside | outside | radius for 1 % | for 5 % | convex |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row.label,
            f"{row.runs} ({row.diverged})",
            f"{row.probes}" if row.judged == row.probes else f"{row.probes} (R²: {row.judged})",
            f"{_r2(row.r2)} ({_r2(row.r2_tenth)})" if row.judged else "",
            _r2(row.wide_r2),
            _share(row.inside_error),
            _share(row.outside_error),
            _plain(row.radius),
            _plain(row.radius_5),
            "" if math.isnan(row.convex) else f"{row.convex:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n\n".join(filter(None, ("\n".join(lines), copy_note(results.all_records()))))


def minima(results: Results) -> str:
    """Where the predicted minimum lies, and what AutoLR would do, on the main task."""
    lines = [
        "| optimizer | steps measured | no minimum | minimum inside the samples | outside, within the bound "
        "| beyond the bound | raises the rate | 3 samples move it the same way |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for optimizer in OPTIMIZERS:
        found = [p for r in results.main(optimizer) if r.finished for p in results.probes(r)]
        if found:
            shares = [
                np.mean([math.isnan(p.minimum) for p in found]),
                np.mean([inside(p) for p in found]),
                np.mean([outside(p) for p in found]),
                np.mean([abs(p.minimum) > max(p.most, max(SAMPLES)) for p in found]),
                np.mean([p.move > 0 for p in found]),
                np.mean([np.sign(p.move) == np.sign(p.move_3) for p in found]),
            ]
            cells = " | ".join(f"{share:.0%}" for share in shares)
            lines.append(f"| {NAMES[optimizer]} | {len(found)} | {cells} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def finding(results: Results) -> str:
    """The findings in a paragraph."""
    rows = results.table()
    main = [r for r in rows if (r.dataset, r.model) == (results.scale.main.dataset, results.scale.main.model)]
    at_seed = [r for r in main if r.lr == OPTIMIZERS[r.optimizer].lr]
    parts = [_quality(at_seed), _rates(results, rows)]
    return " ".join(filter(None, parts)) or NONE


def _quality(rows: list[Row]) -> str:
    judged = [row for row in rows if row.judged]
    if not judged:
        return ""
    r2 = ", ".join(f"{_r2(row.r2)} ({NAMES[row.optimizer]})" for row in judged)
    radii = ", ".join(f"{_plain(row.radius)} ({NAMES[row.optimizer]})" for row in judged)
    return (
        f"At the seed rates, the parabola through five samples explains held-out losses within the trust "
        f"region with a median R² of {r2}. Half of the parabolas stay within 1 % of the loss at least "
        f"up to a change of {radii} times the rate."
    )


def _rates(results: Results, rows: list[Row]) -> str:
    task, texts = results.scale.rates, []
    for optimizer in OPTIMIZERS:
        of = sorted(
            (
                row
                for row in rows
                if (row.dataset, row.model, row.optimizer) == (task.dataset, task.model, optimizer)
                and math.isfinite(row.radius)
            ),
            key=lambda row: row.lr,
        )
        if len(of) > 1:
            shown = ", ".join(f"{_plain(row.radius)} at {row.lr:g}" for row in of)
            texts.append(f"{NAMES[optimizer]} {shown}")
    return f"Against the rate, that radius is: {'; '.join(texts)}." if texts else ""


def _r2(value: float) -> str:
    if value > 1 - 5e-6:
        return "> 0.99999"
    return "" if math.isnan(value) else f"{value:.5f}" if value > 0.999 else f"{value:.3f}"


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2%}" if value >= 1e-4 else f"{value:.0e}"


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:g}"
