"""The claims of the papers as they stand in data/reference/paper_claims.yaml, checked when they are read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from adatune_lite import files

FILE = "paper_claims.yaml"
LEAST_SEEDS = 5
"""Seeds of any verdict; the test of a claim may ask for more."""
ALLOWED = {
    "kind": ("absolute", "difference", "ordering", "trend", "fit"),
    "scale_needed": ("paper", "any"),
    "evidence": (
        *("paper", "card", "abstract", "readme", "figure", "code", "issue", "summary", "derived"),
        "inferred",
    ),
}
_TEXTS = ("id", "paper", "where", "statement", "spread_note", "unit", "test", "note", "doubt")


class ClaimError(ValueError):
    """The file of claims is missing or holds what a claim cannot hold."""


@dataclass(frozen=True)
class Claim:
    """One claim of a paper; the header of the file says what its fields mean."""

    id: str
    paper: str
    where: str
    statement: str
    kind: str
    setting: Mapping[str, Any]
    scale_needed: str
    evidence: str
    test: str = ""
    """The pre-registered statistic; empty for absolute claims, whose value is compared."""
    value: float | list[float] | None = None
    unit: str = ""
    equivalence_margin: float | str | None = None
    """In the unit of the statistic, unless a text says otherwise."""
    spread: float | list[float] | None = None
    spread_note: str = ""
    n: int | None = None
    """Runs per cell, as printed."""
    secondary: Any = None
    note: str = ""
    doubt: str = ""

    @property
    def least_seeds(self) -> int:
        """Seeds that a verdict needs: 5, or more where the test says "at least N seeds"."""
        asked = [int(n) for n in re.findall(r"at least (\d+) seeds", self.test)]
        return max([LEAST_SEEDS, *asked])

    @property
    def expected(self) -> bool:
        """Whether no source prints it: an expectation that follows from the definitions of the methods."""
        return self.evidence == "inferred"


def load(path: Path | None = None) -> list[Claim]:
    """All claims, by default those of the project, in the order of the file.

    Raises:
        ClaimError: the file is missing or no YAML, or an entry has an unknown, missing or impossible field.
    """
    try:
        import yaml
    except ImportError as error:
        raise ClaimError(
            "claims are read with pyyaml, which is not installed: pip install '.[notebooks]'"
        ) from error
    if path is None:
        return list(_by_id(_file()).values())
    try:
        # The loader in C, where pyyaml has it, is ten times as fast.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClaimError(f"the claims in {path} cannot be read ({error})") from error
    if not isinstance(entries, list):
        raise ClaimError(f"{path} must be a list of claims")
    claims = [_claim(entry, f"entry {k + 1}") for k, entry in enumerate(entries)]
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise ClaimError(f"two claims have the id {claim.id}: an id names one claim")
        seen.add(claim.id)
    return claims


def claim_of(claim_id: str) -> Claim:
    """One claim of the project, read once. Raises ClaimError for an id that none has, with those like it."""
    known = _by_id(_file())
    if claim_id not in known:
        like = difflib.get_close_matches(claim_id, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(like)}" if like else "`scorecard` lists all ids"
        raise ClaimError(f"unknown claim {claim_id!r}; {hint}")
    return known[claim_id]


@cache
def _by_id(path: Path) -> dict[str, Claim]:
    return {claim.id: claim for claim in load(path)}


def _file() -> Path:
    try:
        return files.reference(FILE)
    except FileNotFoundError as error:
        raise ClaimError(str(error)) from error


def _claim(entry: object, place: str) -> Claim:
    if not isinstance(entry, Mapping):
        raise ClaimError(f"{place} of the claims must be a mapping of fields, not {entry!r}")
    name = f"claim {entry['id']}" if isinstance(entry.get("id"), str) else f"{place} of the claims"
    known = [f.name for f in fields(Claim)]
    for field in entry:
        if field not in known:
            raise ClaimError(f"{name} has the unknown field {field!r}; allowed: {', '.join(known)}")
    needed = [f.name for f in fields(Claim) if f.default is MISSING]
    needed += ["value", "equivalence_margin"] if entry.get("kind") == "absolute" else ["test"]
    for field in needed:
        if entry.get(field) in (None, ""):
            raise ClaimError(f"{name} lacks the field {field!r}")
    for field in _TEXTS:
        if not isinstance(entry.get(field, ""), str):
            raise ClaimError(f"{name}: {field} must be a text, not {entry[field]!r}")
    for field, allowed in ALLOWED.items():
        if entry[field] not in allowed:
            raise ClaimError(f"{name}: {field} must be one of {', '.join(allowed)}, not {entry[field]!r}")
    if not isinstance(entry["setting"], Mapping):
        raise ClaimError(f"{name}: setting must be a mapping, not {entry['setting']!r}")
    for field in ("value", "spread"):
        value = entry.get(field)
        if not all(map(_is_number, value if isinstance(value, list) else [value or 0.0])):
            raise ClaimError(f"{name}: {field} must be a number or a list of numbers, not {value!r}")
    return Claim(**{str(field): value for field, value in entry.items()})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
