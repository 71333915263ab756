"""The tables and sentences of experiment 04, in Markdown, every number from records."""

from __future__ import annotations

import math

import numpy as np

from adatune_lite.experiments.autolr_tasks import BATCH
from adatune_lite.experiments.superbatch import ALIKE, NEAR, PROFILES, overhead
from adatune_lite.experiments.superbatch.reading import (
    DATASETS,
    NAMES,
    NETWORKS,
    SAMPLES,
    Cell,
    Results,
    at_bound,
    counted,
)
from adatune_lite.report.data import copy_note
from adatune_lite.report.statistics import mean_interval

NONE = "*No records yet.*"
WINDOW = 1000
CIFAR = 50_000
"""Training images of the paper's epoch: it holds none out."""


def setting(results: Results) -> str:
    """What this page shows, what is reduced, and what was shrunk to fit the budget."""
    scale, paper = results.scale, PROFILES["paper"]
    parts = [
        f"{part.task.train:,} images of {DATASETS[part.task.dataset]} with the {NETWORKS[part.task.model]} "
        f"network and {', '.join(NAMES[o] for o in part.optimizers)} (batches of {part.task.batch}, "
        f"{part.superbatch} mini-batches measured, {len(part.seeds)} seeds)"
        for part in scale.parts
    ]
    text = (
        f"**This page** ({results.profile}). {'; '.join(parts)}. {scale.steps:,} steps at a constant rate, "
        f"measured at {scale.probes} of them; {scale.draws} superbatches of each size."
    )
    if results.profile != "paper":
        names = ", ".join(f"{DATASETS[p.task.dataset]} ({NETWORKS[p.task.model]})" for p in paper.parts)
        text += (
            f" This is a reduced scale. Shrunk against the paper profile: its tasks, {names}, to those "
            f"above, its {paper.steps:,} steps to {scale.steps:,} and its {paper.probes} measured steps to "
            f"{scale.probes}."
        )
    if results.profile in ("smoke", "quick"):
        text += " It shows that the code runs, not what the setting gives."
    if note := copy_note(results.all_records()):
        text += f" {note}"
    count = results.missing()
    if count:
        text += f" **Not all runs are made yet**; missing: {count}."
    return text


def smallest(results: Results) -> str:
    """The smallest superbatch that decides alike, its cost, and the slopes of the spread."""
    lines = [
        "| task | optimizer | smallest, 5 samples | costs | smallest, 3 samples | costs | slope as measured "
        "| corrected |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in results.groups():
        cells = [group.task, NAMES[group.optimizer]]
        for samples in SAMPLES:
            found = group.smallest(samples)
            cells += [
                f"{found.size}" if found else f"more than {group.cells[-1].size}",
                f"{found.cost[samples]:.1f} %" if found else "",
            ]
        cells += [mean_interval(group.raw_slopes).text(2), mean_interval(group.slopes).text(2)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def costs(results: Results) -> str:
    """Appendix C's arithmetic beside the passes that were counted, each booked as a third of a step too."""
    price = counted(results.all_records())
    half = math.ceil(CIFAR / BATCH) / 2
    rows = [
        ("the paper's: 5 samples of 100, every 1000 steps", 5, 100, float(WINDOW)),
        ("lean: 3 samples of 50, every 1000 steps", 3, 50, float(WINDOW)),
        (f"5 samples of 100 twice per epoch, every {half:g} steps (CIFAR-10)", 5, 100, half),
        (f"3 samples of 50 twice per epoch, every {half:g} steps (CIFAR-10)", 3, 50, half),
    ]
    lines = [
        "| setting | cost of explore, appendix C's arithmetic | passes counted in the runs, a third of a "
        "step each (no time) |",
        "|---|---|---|",
    ]
    for name, samples, size, window in rows:
        ours = "" if math.isnan(price) else f"{100 * samples * size * price / window:.1f} %"
        lines.append(f"| {name} | {overhead(samples, size, window):.1f} % | {ours} |")
    return "\n".join(lines)


def sizes(results: Results) -> str:
    """Every size of every task and optimizer."""
    lines = [
        "| task | optimizer | mini-batches | spread / loss | agreement, 5 samples | 3 samples | "
        "distance, 5 samples | 3 samples | 3 as 5: direction | difference | variance ratio |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for group in results.groups():
        for cell in group.cells:
            cells = [group.task, NAMES[group.optimizer], *_cell(cell)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _clipped(results)]) if len(lines) > 2 else NONE


def _clipped(results: Results) -> str:
    """How often the reference decides for the bound, which makes the variances of changes small."""
    held = [at_bound(r) for group in results.groups() for r in group.records]
    found = np.concatenate(held)
    return (
        f"The reference moves to the bound at {found.sum()} of {found.size} measured steps "
        f"({found.mean():.0%}). Draws that do so too make one and the same change: for that reason "
        "alone many variance ratios are small."
    )


def _cell(cell: Cell) -> list[str]:
    return [
        f"{cell.size}",
        f"{cell.loss_std:.3f}",
        *(f"{cell.agree[n]:.0%}" for n in SAMPLES),
        *(f"{cell.error[n]:.3f}" for n in SAMPLES),
        f"{cell.samples_agree:.1%}",
        "" if math.isnan(cell.samples_difference) else f"{cell.samples_difference:.3f}",
        "" if math.isnan(cell.variance_ratio) else f"{cell.variance_ratio:.2g}",
    ]


def finding(results: Results) -> str:
    """The findings in a paragraph."""
    parts = []
    for group in results.groups():
        texts = []
        for samples in SAMPLES:
            found = group.smallest(samples)
            texts.append(
                f"{found.size} with {samples} samples ({found.cost[samples]:.1f} % of training)"
                if found
                else f"more than {group.cells[-1].size} with {samples} samples"
            )
        parts.append(f"{group.task}, {NAMES[group.optimizer]}: {' and '.join(texts)}")
    if not parts:
        return NONE
    return (
        f"The smallest superbatch that decides alike ({ALIKE:.0%} in the same direction, and within {NEAR:g} "
        f"of the rate), in mini-batches: {'; '.join(parts)}."
    )
