"""(f): what the decisions that AutoLR's paper leaves open are worth, in tables."""

from __future__ import annotations

from collections import Counter

from adatune_lite.experiments.autolr_records import accuracies, accuracy_text, data_name, signed
from adatune_lite.experiments.autolr_vs_schedules import EVALUATION
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.tables import NONE, adjusted, count, first_falls
from adatune_lite.report.statistics import paired
from adatune_lite.runs.record import Record
from adatune_lite.tuners.autolr.log import PHASES, REASONS

KINDS = ("raise", "lower", "rollback")


def decisions(results: Results) -> str:
    """Each decision taken otherwise, alone, paired with AutoLR as it is on the same task."""
    found = results.opened()
    pairs = {n: paired(accuracies(other), accuracies(whole)) for n, (other, whole) in found.items()}
    p_values = adjusted(pairs)
    lines = [
        "| AutoLR | test accuracy (%) | minus AutoLR as it is (points) | p (Holm) | "
        "first fall of the rate (epoch) | raises | falls | rollbacks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    wholes = {data_name(whole): whole for _, whole in found.values() if whole}
    rows = [(f"as it is, on {data}", "", whole) for data, whole in wholes.items()]
    for name, (other, _) in found.items():
        if other:
            where = f", on {data_name(other)}" if name == EVALUATION else ""
            rows.append((name + where, name, other))
    for label, name, records in rows:
        pair = pairs.get(name)
        cells = [
            label,
            accuracy_text(records),
            signed(pair.difference) if pair else "",
            p_values.get(name, ""),
            first_falls(records),
            *(count(records, kind) for kind in KINDS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NONE


def reasons(results: Results) -> str:
    """How often AutoLR as it is gave which reason, over the windows of all its runs in (a)."""
    runs = [r for cell in results.cells() for r in cell.autolr]
    found = Counter(pair for r in runs for pair in _decided(r))
    total = sum(found.values())
    if not total:
        return NONE
    data = dict.fromkeys(data_name(cell.autolr) for cell in results.cells() if cell.autolr)
    where = f"{total:,} windows of {len(runs)} runs on {', '.join(data)}"
    lines = [f"| reason, in {where} | explore | exploit |", "|---|---|---|"]
    for code, words in enumerate(REASONS):
        lines.append(f"| {words} | {found[code, 0]:,} | {found[code, 1]:,} |")
    return "\n".join(lines)


def _decided(record: Record) -> list[tuple[int, int]]:
    """(reason, phase) of every decision, as places in REASONS and PHASES."""
    codes, phases = (record.series(f"decision_{name}")[1] for name in ("reason", "phase"))
    assert phases.max(initial=0) < len(PHASES)
    return [(int(code), int(phase)) for code, phase in zip(codes, phases, strict=True)]
