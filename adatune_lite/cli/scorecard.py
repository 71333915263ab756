"""`scorecard`: the papers' claims with the verdicts that the committed records give."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from adatune_lite import claims
from adatune_lite.cli.tables import table

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("scorecard", help="the papers' claims and the verdicts about them")
    parser.set_defaults(do=scorecard)
    parser.add_argument("--experiment", metavar="EXPERIMENT", help="only its claims, for example 01")
    parser.add_argument(
        "--profile", help="judge the records of this profile (default: the best committed one)"
    )


def scorecard(given: argparse.Namespace) -> int:
    """A row for each claim; for one experiment the reasons too."""
    verdicts = claims.scorecard(given.experiment, given.profile)
    rows = [(v.claim.id, v.outcome, v.numbers(), v.seeds if v.profile else "", v.scale) for v in verdicts]
    print(table(("claim", "outcome", "statistic", "seeds", "profile"), rows))
    if given.experiment:
        for verdict in verdicts:
            print(f"\n{verdict.claim.id}: {verdict.outcome}\n  {verdict.claim.statement}\n  {verdict.why}")
        print()
    print(claims.counts(verdicts))
    return 0
