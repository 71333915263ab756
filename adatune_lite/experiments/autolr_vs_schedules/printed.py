"""What AutoLR's paper prints, beside ours: Table 9 at its own rates, the rates in Figures 10 to 20."""

from __future__ import annotations

import csv
from functools import cache

from adatune_lite import files
from adatune_lite.experiments.autolr_plots import LABELS
from adatune_lite.experiments.autolr_records import (
    accuracy_text,
    copy_note,
    loss_text,
    printed_accuracy_text,
    printed_loss_text,
    rates,
)
from adatune_lite.experiments.autolr_vs_schedules import DEFAULT
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.verdicts.one_cycle import TABLE_7


def table_9(results: Results) -> str:
    """Table 9, and the staircase of Table 4, at the rates that the paper prints."""
    held = {m: records for m in TABLE_7 if (records := results.printed().get(m))}
    if not held:
        return "*Not run: the schedules at their printed rates are in the `paper` profile.*"
    lines = [
        "| method | rate | test accuracy (%) | training loss | printed accuracy (%) | printed loss |",
        "|---|---|---|---|---|---|",
    ]
    for method, records in held.items():
        cells = [
            "one-cycle, default" if method == DEFAULT else LABELS[method],
            f"{records[0].spec.get('lr'):g}",
            accuracy_text(records),
            loss_text(records),
            printed_accuracy_text(TABLE_7[method]),
            printed_loss_text(TABLE_7[method]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    note = copy_note(r for records in held.values() for r in records)
    return "\n\n".join(filter(None, (note, "\n".join(lines))))


@cache
def _ranges() -> dict[tuple[str, str], dict[str, str]]:
    with files.reference("autolr_rate_ranges.csv").open(newline="", encoding="utf-8") as file:
        return {(row["table"], row["optimizer"]): row for row in csv.DictReader(file)}


def rate_range(results: Results, table: str, optimizer: str) -> str:
    """One line under a curve: the rates on the paper's axis and those of our runs of AutoLR."""
    known = _ranges()[table, optimizer]
    low, high = known["low"], known["high"]
    shown = f"{low} to {high}" if low and high else f"from {low} on" if low else f"up to {high}"
    where = " in explore" if known["part"] == "explore" else ""
    note = f" ({known['note']})" if known["note"] else ""
    text = f"Figure {known['figure']} of the paper: rates {shown}{where}{note}, read off its axis."
    if not (low or high):
        text = f"Figure {known['figure']} of the paper: its rates cannot be read off the scan."
    cell = results.cell(table, optimizer)
    runs = [r for r in cell.autolr if r.finished] if cell else []
    if not runs:
        return text
    every = [rates(r) for r in runs]
    early = [found[: int(r.spec.get("explore_steps"))] for r, found in zip(runs, every, strict=True)]
    within = f"{min(e.min() for e in early):.5g} to {max(e.max() for e in early):.5g} in explore, "
    span = f"{min(e.min() for e in every):.5g} to {max(e.max() for e in every):.5g} in the whole run"
    return " ".join(filter(None, (text, f"Ours: {within}{span}.", copy_note(runs))))
