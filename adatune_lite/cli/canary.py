"""`canary`: whether the present code still gives the numbers of the records, by small runs and desk runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from adatune_lite import experiments

if TYPE_CHECKING:
    from adatune_lite.runs.canary import Finding
    from adatune_lite.runs.rerun import Desk
    from adatune_lite.runs.store import Store

    Commands = argparse._SubParsersAction[Any]
    Findings = dict[str, tuple[ModuleType, list[Finding]]]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("canary", help="whether changed code still gives the numbers of the records")
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="by default all that have one")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--accept",
        action="store_true",
        help="keep that it came out equal: records of both codes are fresh. First one finished desk run of "
        "each run function is made by both codes, too, bit for bit: minutes",
    )
    what.add_argument(
        "--renew",
        action="store_true",
        help="keep what came out, equal or not: records of other codes are stale where it did not",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="while work is in progress: no desk runs; `verify` asks for them until they are compared",
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
    store = stores_for("desk")
    findings: Findings = {module.NAME: (module, runs.examine(module)) for module in chosen}
    if given.accept or given.renew:
        return _keep(findings, store, given.renew, given.quick)
    return _tell(findings, store)


def _tell(findings: Findings, store: Store) -> int:
    from adatune_lite.runs import canary as runs

    left = 0
    for name, (module, found) in findings.items():
        for function, part in _by_function(found).items():
            what = runs.advice(module, part, store)
            left += bool(what)
            count = sum(len(one.made) for one in part)
            told = what or f"{function} is equal in {count} small runs of {len(part)} kinds, and known to be."
            print(f"{name}: {told}")
    return 1 if left else 0


def _by_function(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in findings:
        found.setdefault(one.kind.function, []).append(one)
    return found


def _keep(findings: Findings, store: Store, renew: bool, quick: bool) -> int:
    from adatune_lite.runs import canary as runs

    differing = {name for name, (_, found) in findings.items() if any(one.differences for one in found)}
    accepted = {name: pair for name, pair in findings.items() if renew or name not in differing}
    records = list(store.records())
    desks = _desks(accepted, records, store, quick)
    results = {function: desk.equal for function, desk in desks.items()}
    left = 0 if renew else _tell({name: findings[name] for name in differing}, store)
    for name, (module, found) in accepted.items():
        other = {
            one.kind.function for one in found if one.changed and results.get(one.kind.function) is False
        }
        if other and not renew:
            left = 1
            continue
        used = {record.code for record in records if record.labels.get("experiment") == name}
        place = runs.accept(module, found, desk=results, used=used, renew=renew)
        print(f"{name}: kept in {place.name}")
    return left or (_undone(desks) if not quick else 0)


def _desks(accepted: Findings, records: Sequence[Any], store: Store, quick: bool) -> dict[str, Desk]:
    """The desk runs that are needed, compared unless there is no time for that."""
    from adatune_lite.runs import rerun

    found = [one for _, findings in accepted.values() for one in findings]
    desks = rerun.wanted(found, [record for record in records if record.labels.get("experiment") in accepted])
    if quick:
        for desk in desks.values():
            desk.undone = f"{desk}: left for later"
        return desks
    for desk in desks.values():
        print(f"by both codes: {desk}", flush=True)
    rerun.compare(desks, store)
    for desk in desks.values():
        for difference in desk.differences:
            print(f"{difference}: undo the change, or `--renew` and make those records again")
    return desks


def _undone(desks: dict[str, Desk]) -> int:
    left = [desk.undone for desk in desks.values() if desk.equal is None]
    for sentence in left:
        print(f"accepted by small runs alone: {sentence}")
    return 1 if left else 0
