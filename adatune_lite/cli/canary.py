"""`canary`: whether the present code still gives the numbers of the records, by small runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from adatune_lite import experiments

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("canary", help="whether changed code still gives the numbers of the records")
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="by default all that have one")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--accept", action="store_true", help="keep that it came out equal: records of both codes are fresh"
    )
    what.add_argument(
        "--renew",
        action="store_true",
        help="keep what came out, equal or not: records of other codes are stale",
    )
    parser.set_defaults(do=canary)


def canary(given: argparse.Namespace) -> int:
    """A line for each run function of each experiment; exit code 1 if something is left to be done."""
    from adatune_lite.runs import canary as runs
    from adatune_lite.runs.store import stores_for

    if given.experiment:
        chosen = [experiments.find(given.experiment)]
    else:
        chosen = [module for module in experiments.EXPERIMENTS.values() if runs.has_canary(module)]
    left = 0
    for module in chosen:
        findings = runs.examine(module)
        differs = any(found.differences for found in findings)
        if given.renew or (given.accept and not differs):
            print(f"{module.NAME}: kept in {runs.accept(module, findings, renew=given.renew).name}")
            continue
        for found in findings:
            what = runs.advice(module, found, stores_for("desk"))
            left += bool(what)
            told = what or f"{found.function} is equal in {len(found.made)} small runs, and known to be."
            print(f"{module.NAME}: {told}")
    return 1 if left else 0
