"""`run`: make the missing runs of an experiment, the most valuable first."""

from __future__ import annotations

import argparse
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite import experiments, files
from adatune_lite.cli.tables import table
from adatune_lite.runs.execute import ExecutionError, Experiment, Summary, complete
from adatune_lite.runs.progress import duration
from adatune_lite.runs.store import Store, stores_for

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

SHOWN_DIFFERENCES = 20


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="make the missing runs of an experiment")
    parser.set_defaults(do=run)
    parser.add_argument("experiment", metavar="EXPERIMENT", help="name or number, for example 01")
    parser.add_argument("--profile", required=True, help="smoke, quick, desk or paper")
    parser.add_argument("--budget", type=budget, metavar="TIME", help="stop in time: 90s, 25m, 1h30m")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: one per core)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write records here")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument(
        "--reuse",
        choices=("store", "none"),
        default="store",
        help="none: compute all runs again, in a folder of their own, and compare",
    )
    parser.add_argument(
        "--limit-role", nargs="+", default=(), metavar="ROLE", help="only runs of these roles, e.g. tuning"
    )


def budget(text: str) -> float:
    """Seconds of a budget such as 90s, 25m, 1.5h or 1h30m."""
    number = r"(?:(\d+(?:\.\d+)?){})?"
    match = re.fullmatch("".join(number.format(unit) for unit in "hms"), text)
    parts = [float(part or 0) for part in match.groups()] if match else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 25m or 1h30m")
    return seconds


def run(given: argparse.Namespace) -> int:
    """Complete an experiment in one profile; exit code 1 if a run failed."""
    module = experiments.find(given.experiment)
    present = stores_for(given.profile)
    store = stores_for(given.profile, given.out)
    if given.reuse == "none":
        again = files.scratch_folder() / "again" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        store = Store(given.out or again)
    jobs = given.jobs
    if jobs is None:
        jobs = 1 if given.profile == "smoke" else os.cpu_count() or 1
    _check_roles(module, given, store)
    summary = complete(
        module,
        given.profile,
        store,
        jobs=jobs,
        device=given.device,
        budget_s=given.budget,
        roles=given.limit_role,
    )
    _tell(module, given.profile, store, summary)
    if given.reuse == "none":
        print(_differences(module, given.profile, present, store))
    return 1 if summary.failed else 0


def _check_roles(module: Experiment, given: argparse.Namespace, store: Store) -> None:
    if not given.limit_role or given.profile not in module.PROFILES:
        return
    planned = sorted({run.role for run in module.plan(given.profile, store)})
    for role in given.limit_role:
        if role not in planned:
            raise ExecutionError(
                f"no run of the role {role!r} is planned so far; there are {', '.join(planned)}"
            )


def _tell(module: Experiment, profile: str, store: Store, summary: Summary) -> None:
    for sentence in summary.failed:
        print(sentence, file=sys.stderr)
    why = " (the budget is used up)" if summary.out_of_time else ""
    print(
        f"{module.NAME} {profile}: {summary.done} runs made in {duration(summary.seconds)}, "
        f"{summary.diverged} of them diverged; {len(summary.failed)} failed; "
        f"{summary.left} missing{why}; records in {store.root}"
    )


def _differences(module: Experiment, profile: str, before: Store, now: Store) -> str:
    """Final metrics of the runs made again beside the records that were there, largest difference first."""
    rows, compared = [], 0
    for planned in module.plan(profile, now):
        old, new = before.get(planned.spec), now.get(planned.spec)
        if old is None or new is None:
            continue
        compared += 1
        if old.status != new.status:
            rows.append((float("inf"), str(planned), "status", old.status, new.status))
        for name in sorted(old.metrics.keys() & new.metrics.keys()):
            gap = abs(old.metrics[name] - new.metrics[name])
            if gap != 0:
                rows.append((gap, str(planned), name, f"{old.metrics[name]:.6g}", f"{new.metrics[name]:.6g}"))
    if not compared:
        return "there were no records to compare with"
    if not rows:
        return f"{compared} runs compared with the records that were there: equal to the last digit"
    rows.sort(key=lambda row: -row[0])
    shown = [(run, name, old, new, f"{gap:.2g}") for gap, run, name, old, new in rows[:SHOWN_DIFFERENCES]]
    head = f"{compared} runs compared with the records that were there: {len(rows)} figures differ"
    return f"{head}\n{table(('run', 'figure', 'before', 'now', 'difference'), shown)}"
