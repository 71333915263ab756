"""`scorecard`: the papers' claims with the verdicts that the committed records give."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from adatune_lite import claims, experiments
from adatune_lite.claims.scorecard import one
from adatune_lite.claims.verdict import Verdict
from adatune_lite.cli.tables import table

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("scorecard", help="the papers' claims and the verdicts about them")
    parser.set_defaults(do=scorecard)
    parser.add_argument(
        "claim",
        nargs="?",
        metavar="ID",
        help="one claim: its test, the outcome, where it is judged, its runs",
    )
    parser.add_argument("--experiment", metavar="EXPERIMENT", help="only its claims, for example 01")
    parser.add_argument(
        "--profile", help="judge the records of this profile (default: the best committed one)"
    )


def scorecard(given: argparse.Namespace) -> int:
    """A row for each claim; for one experiment the reasons too; all that is known of a single claim."""
    every = experiments.EXPERIMENTS.values()
    chosen = [experiments.find(given.experiment)] if given.experiment else every
    if given.claim:
        print(_told(*one(chosen, given.claim, given.profile)))
        return 0
    verdicts = claims.scorecard(chosen, given.profile, all_claims=not given.experiment)
    rows = [(v.claim.id, v.outcome, v.numbers(), v.seeds if v.profile else "", v.scale) for v in verdicts]
    print(table(("claim", "outcome", "statistic", "seeds", "profile"), rows))
    if given.experiment:
        for verdict in verdicts:
            print(f"\n{verdict.claim.id}: {verdict.outcome}\n  {verdict.claim.statement}\n  {verdict.why}")
        print()
    print(claims.counts(verdicts))
    return 0


def _told(verdict: Verdict, place: str) -> str:
    claim = verdict.claim
    fixed = claim.test or f"{claim.value} ± {claim.equivalence_margin} {claim.unit}".strip()
    seeds = f"{verdict.scale}, {verdict.seeds} seeds" if verdict.profile else ""
    lines = {
        "claim": f"{claim.id} ({claim.where})",
        "statement": claim.statement,
        "kind": claim.kind,
        "test": fixed,
        "outcome": verdict.outcome + (f" ({seeds})" if seeds else ""),
        "statistic": verdict.numbers() or "none",
        "why": verdict.why,
        "judge": place or "none",
        "runs": " ".join(run[:16] for run in verdict.runs) or "none",
    }
    return "\n".join(f"{name + ':':<10} {' '.join(text.split())}" for name, text in lines.items())
