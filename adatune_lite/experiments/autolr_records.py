"""What the readings of AutoLR's experiments share: accuracies, exact rates, and what the paper prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from adatune_lite.claims import Claim, Finding, absolute, load
from adatune_lite.experiments.autolr_tasks import DATASETS
from adatune_lite.report.statistics import Interval, mean_interval
from adatune_lite.runs.record import Record

GUESSING = 10.0
"""Accuracy in percent of guessing among ten classes: what a diverged run counts as."""


def accuracy(record: Record) -> float:
    """Test accuracy in percent."""
    return record.metrics["test_accuracy"] if record.finished else GUESSING


def accuracies(records: Iterable[Record]) -> dict[int, float]:
    """Test accuracy by seed."""
    return {r.spec.seed: accuracy(r) for r in records}


def log_losses(records: Iterable[Record]) -> dict[int, float]:
    """Log of the final training loss by seed; diverged runs are left out."""
    tiny = float(np.finfo(np.float32).tiny)
    return {r.spec.seed: float(np.log(max(r.metrics["train_loss"], tiny))) for r in records if r.finished}


def rates(record: Record) -> np.ndarray:
    """The rate of every step that was taken: AutoLR's from its decisions, others held between kept points."""
    steps, kept = record.series("lr")
    if record.spec.method != "autolr":
        counts = np.diff(np.append(steps, steps[-1] + 1))
        return np.repeat(kept, counts)
    found = np.full(steps[-1] + 1, record.spec.get("lr"), np.float64)
    for end, lr in zip(record.series("decision")[0], record.series("decision_new_lr")[1], strict=True):
        found[end - 1 :] = lr  # The step that ends a window is taken at the new rate.
    return found


def first_fall(record: Record) -> int | None:
    """Steps done when AutoLR first lowered the rate; None if it never did."""
    steps = record.series("decision")[0]
    fell = record.series("decision_new_lr")[1] < record.series("decision_lr")[1]
    return int(steps[fell][0]) if fell.any() else None


def signed(found: Interval, digits: int = 2) -> str:
    """A mean difference with its interval, where there is one."""
    text = f"{found.mean:+.{digits}f}"
    if found.n < 2:
        return text
    return f"{text} (95 % interval {found.low:+.{digits}f} to {found.high:+.{digits}f})"


def several(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def hashes(*groups: Iterable[Record]) -> tuple[str, ...]:
    """Hashes of the specs, each once, in their order."""
    return tuple(dict.fromkeys(r.spec.hash for group in groups for r in group))


def from_copy(records: Iterable[Record]) -> bool:
    """Whether any of the runs read a JPEG copy of the images and not the published ones."""
    return any("JPEG" in str(r.provenance.get("data_source", "")) for r in records)


def data_name(records: Sequence[Record]) -> str:
    """The images of some runs of one task, named as a copy where they are one."""
    return DATASETS[records[0].spec.task.dataset] + (" (JPEG copy)" if from_copy(records) else "")


def copy_note(records: Iterable[Record]) -> str:
    """What to say where runs read a JPEG copy, named as the records name it; empty where none did."""
    copies = sorted({str(r.provenance["data_source"]) for r in records if from_copy([r])})
    if not copies:
        return ""
    return (
        f"Images: {'; '.join(copies)}. On a **JPEG copy** accuracies are not to be held against the printed "
        "ones, only against each other."
    )


def accuracy_text(records: Sequence[Record]) -> str:
    """Mean test accuracy with its interval; a diverged run counts as guessing, and is counted."""
    lost = sum(not r.finished for r in records)
    if not records:
        return ""
    text = mean_interval([accuracy(r) for r in records]).text(2, bare=lost > 0)
    return text + (f" ({lost} of {len(records)} diverged)" if lost else "")


def loss_text(records: Sequence[Record]) -> str:
    """Mean training loss of the runs that finished, with its interval."""
    held = [r.metrics["train_loss"] for r in records if r.finished]
    return mean_interval(held).text(4, bare=len(held) < len(records)) if held else ""


@cache
def printed(name: str) -> Claim:
    """The claim `autolr.<name>`; raises KeyError for a name that is none."""
    return {claim.id: claim for claim in load()}[f"autolr.{name}"]


def printed_value(name: str) -> float:
    """What the paper prints, in the unit of the claim."""
    value = printed(name).value
    assert isinstance(value, int | float)
    return float(value)


def printed_accuracy_text(name: str) -> str:
    """A printed accuracy in percent, with its standard deviation and runs where they are printed."""
    claim = printed(name)
    spread = claim.spread if isinstance(claim.spread, int | float) else None
    if spread is not None and "fraction of 1" in claim.spread_note:
        spread *= 100
    told = [f"SD {spread:.2g}"] if spread is not None else []
    told += [f"n = {claim.n}"] if claim.n else []
    return f"{printed_value(name):.2f}" + (f" ({', '.join(told)})" if told else "")


def printed_loss_text(name: str) -> str:
    """The training loss that the paper prints beside an accuracy, with its standard deviation, if it does."""
    for entry in printed(name).secondary or ():
        if entry["metric"] == "training loss":
            return f"{entry['value']:g}" + (f" (SD {entry['spread']:g})" if "spread" in entry else "")
    return ""


def absolute_finding(
    claim: Claim, records: Sequence[Record], values: Sequence[float], least: int = 0
) -> Finding:
    """Whether the interval of our mean meets what is printed; never on a copy of the images.

    values: of the records, one each or chosen from them. least: runs that the statistic needs.
    """
    if not records:
        return Finding()
    meets, numbers = absolute(claim, values)
    missing = []
    if from_copy(records):
        missing.append("the published images (these runs read a JPEG copy)")
    if len(records) < least:
        missing.append(f"{least - len(records)} of {least} runs")
    lost = sum(not r.finished for r in records)
    why = f"Ours {numbers['mean']:.2f} %, printed {numbers['printed']:.2f} % ± {claim.equivalence_margin}."
    return Finding(
        passes=meets,
        opposite=not meets,
        statistic=numbers,
        seeds=len({r.spec.seed for r in records}),
        why=why + (f" {lost} diverged runs count as guessing." if lost else ""),
        missing=tuple(missing),
        runs=hashes(records),
    )
