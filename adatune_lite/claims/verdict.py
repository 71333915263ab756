"""From what a judge found to a verdict, by the rules in the header of the file of claims.

Judges are functions of the experiments, registered with `@judge(claim id)`. A judge carries out the claim's
test and says what it found; the rules that hold for every claim (enough seeds, nothing missing, the printed
scale) are applied here, so that no judge can leave them out.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from adatune_lite.claims.catalog import Claim, ClaimError
from adatune_lite.files import PACKAGE
from adatune_lite.report.groups import Page
from adatune_lite.report.statistics import mean_interval

ALPHA = 0.05

REPRODUCED = "reproduced"
SUPPORTED = "supported"
EQUIVALENT = "equivalent"
CONTRADICTED = "contradicted"
UNDECIDED = "undecided"
NOT_RUN = "not run"
NOT_AT_SCALE = "not run at the printed scale"
NOT_JUDGED = "not judged yet"
OUTCOMES = (
    *(REPRODUCED, SUPPORTED, EQUIVALENT, CONTRADICTED, UNDECIDED),
    *(NOT_RUN, NOT_AT_SCALE, NOT_JUDGED),
)
COMMITTED = ("paper", "desk")
"""Profiles whose records count for the book, the best first."""


@dataclass(frozen=True)
class Finding:
    """What a judge found in the records, before the rules that hold for all claims."""

    passes: bool = False
    """The claim's test, as it is written."""
    opposite: bool = False
    """The opposite direction is significant at 0.05; for an absolute claim: our interval misses its."""
    equivalent: bool = False
    """Two one-sided tests put the difference inside the claim's margin."""
    statistic: dict[str, float] = field(default_factory=dict)
    """The numbers that decide; of several comparisons, those of the one least in favour."""
    seeds: int = 0
    """The fewest seeds of any comparison."""
    why: str = ""
    """Sentences with the numbers; without runs, why there are none."""
    missing: tuple[str, ...] = ()
    """What the test names and no record shows yet; with something missing there is no verdict."""
    runs: tuple[str, ...] = ()
    """Hashes of the specs of the runs that were read; none: not run."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one claim's test at one scale."""

    claim: Claim
    outcome: str
    """One of OUTCOMES."""
    profile: str = ""
    """Profile of the records; empty where there are none."""
    statistic: dict[str, float] = field(default_factory=dict)
    seeds: int = 0
    why: str = ""
    runs: tuple[str, ...] = ()
    """Hashes of the specs of the runs it rests on."""

    @property
    def for_book(self) -> bool:
        """Whether it may stand as a result of the book: smoke and quick runs only try the code."""
        return self.profile in COMMITTED

    @property
    def scale(self) -> str:
        """The profile, said to be reduced where it is."""
        if not self.profile or self.profile == "paper":
            return self.profile
        return f"{self.profile} (reduced)" if self.for_book else f"{self.profile} (no result)"

    def numbers(self) -> str:
        """The statistic in a line."""
        return ", ".join(f"{name} {value:.3g}" for name, value in self.statistic.items())


@dataclass(frozen=True)
class Judge:
    """The registered test of one claim."""

    claim_id: str
    module: Mapping[str, Any]
    """The names of the module in which it is registered."""
    line: int
    """Of the registration, which for a claim in a list is not that of its id."""
    find: Callable[[Claim, Any], Finding]

    def __call__(self, claim: Claim, results: Any) -> Verdict:
        """The verdict from an experiment's results, read as the claim was when it was first judged.

        Where the one rule of lost runs would give another outcome, the sentence says which.
        """
        if claim.id != self.claim_id:
            raise ClaimError(f"the judge of {self.claim_id} cannot judge {claim.id}")
        verdict = conclude(claim, str(results.profile), self.find(claim, results))
        if not isinstance(results, Page) or not results.lost(verdict.runs):
            return verdict
        other = conclude(claim, results.profile, self.find(claim, results.by_the_rule)).outcome
        if other == verdict.outcome:
            return verdict
        return replace(verdict, why=_joined(verdict.why, f"By the one rule of lost runs: {other}."))

    @property
    def place(self) -> str:
        """File and line where the claim's id stands, from the folder that holds the package."""
        path = Path(self.module["__file__"])
        lines = path.read_text(encoding="utf-8").splitlines()
        literal = (k for k, line in enumerate(lines, 1) if f'"{self.claim_id}"' in line)
        name = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE.parent) else path
        return f"{name.as_posix()}:{next(literal, self.line)}"


_JUDGES: dict[str, Judge] = {}


def judge(claim_id: str) -> Callable[[Callable[[Claim, Any], Finding]], Judge]:
    """Register a function (claim, results) -> Finding as the judge of a claim.

    Raises ClaimError for a claim that has one already.
    """
    frame = _caller()
    module, line = frame.f_globals, frame.f_lineno

    def register(find: Callable[[Claim, Any], Finding]) -> Judge:
        known = _JUDGES.get(claim_id)
        # A module that was imported anew has other names, and takes the place of its former self.
        if known and (known.module is module or known.module["__name__"] != module["__name__"]):
            raise ClaimError(
                f"the claim {claim_id} has two judges, in {known.place} and {module['__name__']}:"
                " one test gives one verdict"
            )
        _JUDGES[claim_id] = Judge(claim_id, module, line, find)
        return _JUDGES[claim_id]

    return register


def _caller() -> FrameType:
    """The frame outside of this package from which a judge is registered."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_globals["__name__"].startswith(__package__):
        frame = frame.f_back
    assert frame is not None
    return frame


def judges_of(experiment: ModuleType) -> dict[str, Judge]:
    """The judges in the module or package `verdicts` of an experiment, by claim; none without it."""
    name = f"{experiment.__name__}.verdicts"
    if not hasattr(experiment, "__path__") or importlib.util.find_spec(name) is None:
        return {}
    inner = pkgutil.iter_modules(getattr(importlib.import_module(name), "__path__", ()))
    names = [name, *(f"{name}.{part.name}" for part in inner)]
    for part in names:
        importlib.import_module(part)
    return {claim: found for claim, found in _JUDGES.items() if found.module["__name__"] in names}


def conclude(claim: Claim, profile: str, finding: Finding) -> Verdict:
    """The verdict of what a judge found: the rules of the file of claims, in their order."""
    if not finding.runs:
        return Verdict(claim, NOT_RUN, why=finding.why or "The runs that this test reads are not there yet.")
    verdict = Verdict(
        claim, UNDECIDED, profile, dict(finding.statistic), finding.seeds, finding.why, finding.runs
    )
    if claim.scale_needed == "paper" and profile != "paper":
        reason = "The claim is about the printed scale; these runs are smaller."
        return replace(verdict, outcome=NOT_AT_SCALE, why=_joined(finding.why, reason))
    if finding.missing:
        reason = f"No verdict yet: records are missing of {', '.join(finding.missing)}."
        return replace(verdict, why=_joined(finding.why, reason))
    if finding.seeds < claim.least_seeds:
        reason = (
            f"No verdict: {finding.seeds} of the {claim.least_seeds} seeds that the test needs are there."
        )
        return replace(verdict, why=_joined(finding.why, reason))
    if finding.passes:
        outcome = REPRODUCED if claim.kind == "absolute" else SUPPORTED
    elif finding.equivalent:
        outcome = EQUIVALENT
    else:
        outcome = CONTRADICTED if finding.opposite else UNDECIDED
    return replace(verdict, outcome=outcome)


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def meets_printed(claim: Claim, values: Sequence[float]) -> tuple[bool, dict[str, float]]:
    """Whether the 95 % interval of our mean meets [value - margin, value + margin], and the numbers.

    Raises ClaimError for a value or a margin that is not one number: such a claim needs a rule of its own.
    """
    value, margin = claim.value, claim.equivalence_margin
    if not isinstance(value, int | float) or not isinstance(margin, int | float):
        raise ClaimError(
            f"the value or the margin of {claim.id} is not one number: its judge must compare it"
        )
    ours = mean_interval(values)
    # Without an interval (one seed) the mean itself is compared; such a finding has too few seeds anyway.
    low, high = (ours.low, ours.high) if ours.n > 1 else (ours.mean, ours.mean)
    meets = low <= value + margin and high >= value - margin
    return meets, {"mean": ours.mean, "low": low, "high": high, "printed": float(value)}


def best(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim's verdicts, the largest scale first: the first with enough seeds, else that of the most."""
    enough = [v for v in verdicts if v.seeds >= v.claim.least_seeds]
    return enough[0] if enough else max(verdicts, key=lambda v: v.seeds)
