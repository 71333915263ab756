"""What the readings of AutoLR's experiments share: accuracies, exact rates, and what the paper prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from adatune_lite.claims import Claim, claim_of
from adatune_lite.report.data import copy_note
from adatune_lite.report.groups import Key, Page, Part
from adatune_lite.report.lost import diverged_as_guessing
from adatune_lite.report.tables import Column, Row, averaged, by_seed
from adatune_lite.runs.record import Record

accuracy = diverged_as_guessing("test_accuracy")
"""Test accuracy in percent. The one rule of lost runs says the same of it."""


def accuracies(records: Iterable[Record]) -> dict[int, float]:
    """Test accuracy by seed."""
    return by_seed(records, accuracy)


def train_loss(record: Record) -> float | None:
    """Training loss of the whole training part; a diverged run has none of its own."""
    return record.metrics.get("train_loss")


def log_loss(record: Record) -> float | None:
    """Its logarithm."""
    loss = train_loss(record)
    return None if loss is None else float(np.log(max(loss, float(np.finfo(np.float32).tiny))))


def cost(records: Sequence[Record]) -> float:
    """What a run cost in plain steps, the mean."""
    return fmean(r.cost["plain_steps"] for r in records)


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


@dataclass(frozen=True)
class Printed:
    """A printed mean."""

    mean: float
    sd: float | None = None
    n: int | None = None
    """Runs, where their number is printed."""


def printed(claim_id: str) -> float:
    """The value of a claim that is one number."""
    return printed_accuracy(claim_of(claim_id)).mean


def printed_accuracy(claim: Claim) -> Printed:
    """The accuracy that a claim is about, in percent."""
    assert isinstance(claim.value, int | float)
    sd = claim.spread if isinstance(claim.spread, int | float) else None
    if sd is not None and "fraction of 1" in claim.spread_note:
        sd *= 100
    return Printed(float(claim.value), sd, claim.n)


def printed_loss(claim: Claim) -> Printed | None:
    """The training loss that the paper prints beside it, if it does."""
    losses = [entry for entry in claim.secondary or () if entry["metric"] == "training loss"]
    return Printed(losses[0]["value"], losses[0].get("spread")) if losses else None


def accuracy_words(found: Printed) -> str:
    """With its standard deviation and runs."""
    told = [f"SD {found.sd:.2g}"] if found.sd is not None else []
    told += [f"n = {found.n}"] if found.n else []
    return f"{found.mean:.2f}" + (f" ({', '.join(told)})" if told else "")


def loss_words(found: Printed) -> str:
    """With its standard deviation."""
    return f"{found.mean:g}" + (f" (SD {found.sd:g})" if found.sd is not None else "")


def printed_columns(
    claims: Mapping[Key, str], prefix: Part = "", name: str = "printed, CIFAR-10 (%)"
) -> tuple[Column, Column]:
    """What is printed of the rows' accuracies and training losses.

    claims: ids by the keys of groups. prefix: what the keys of the rows lack of those, if anything.
    """

    def of(what: Callable[[Claim], Printed | None], row: Row) -> Printed | None:
        rest = row.key if isinstance(row.key, tuple) else (row.key,)
        claim_id = claims.get((prefix, *rest) if prefix else rest)
        return what(claim_of(claim_id)) if claim_id else None

    return (
        Column(name, partial(of, printed_accuracy), accuracy_words),
        Column("printed loss", partial(of, printed_loss), loss_words),
    )


def standing(page: Page[Any], count: str = "") -> str:
    """What a page says after its setting: a reduced scale, a copy of the images, runs not made yet."""
    text = ""
    if page.profile in ("smoke", "quick"):
        text += " This is a reduced scale: it shows that the code runs, not what the setting gives."
    if note := copy_note(page.all_records()):
        text += f" {note}"
    if absent := page.missing():
        text += f" **Not all runs are made yet**: {count}{absent} are missing."
    return text


def reduced(page: Page[Any], shrunk: str) -> str:
    """The same where a page says what was shrunk, against what."""
    text = f" This is a reduced scale. Shrunk against {shrunk}." if page.profile != "paper" else ""
    if page.profile in ("smoke", "quick"):
        text += " It shows that the code runs, not what the setting gives."
    if note := copy_note(page.all_records()):
        text += f" {note}"
    if absent := page.missing():
        text += f" **Not all runs are made yet**; missing: {absent}."
    return text


def _falls(row: Row) -> str:
    """Epoch at which the rate first fell, the mean of the runs in which it did."""
    found = [step for r in row.records if r.finished and (step := first_fall(r)) is not None]
    if not found:
        return "never"
    task = row.records[0].spec.task
    every = f" ({len(found)} of {len(row.records)} runs)" if len(found) < len(row.records) else ""
    return f"{fmean(found) / (task.train // task.batch):.1f}{every}"


def _decided(name: str, kind: str) -> Column:
    """Decisions of a kind in a run, the mean over runs that finished."""

    def count(row: Row) -> float | None:
        found = [r.metrics[kind] for r in row.records if r.finished]
        return fmean(found) if found else None

    return Column(name, count, "{:.1f}")


ACCURACY = averaged("test accuracy (%)", accuracy, 2)
LOSS = averaged("training loss", train_loss, 4)
COST = Column("cost (plain steps)", lambda row: cost(row.records), "{:,.0f}")
DECISIONS = (
    Column("first fall of the rate (epoch)", _falls),
    _decided("raises", "raise"),
    _decided("falls", "lower"),
    _decided("rollbacks", "rollback"),
)
"""What AutoLR did to its rate."""
