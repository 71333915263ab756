"""`status`, `show` and `verify`: what is in the stores."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite import experiments
from adatune_lite.cli.tables import table
from adatune_lite.runs.durations import Durations
from adatune_lite.runs.execute import Experiment, missing
from adatune_lite.runs.freshness import outstanding
from adatune_lite.runs.progress import duration
from adatune_lite.runs.record import Record, RecordError
from adatune_lite.runs.store import SMALL, Store, is_stale, stores_for
from adatune_lite.training.spec import RunSpec

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

SHORTEST_PREFIX = 4


def add(commands: Commands) -> None:
    """Add the commands."""
    parser = commands.add_parser("status", help="what is done and what is missing, by experiment and profile")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also look into this folder")
    parser.set_defaults(do=status)
    parser = commands.add_parser("show", help="one record")
    parser.add_argument("run", metavar="RUN", help="the first characters of its spec hash, or its file name")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also look into this folder")
    parser.set_defaults(do=show)
    parser = commands.add_parser("verify", help="check all records")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="by default both stores")
    parser.set_defaults(do=verify)


def status(given: argparse.Namespace) -> int:
    """A row for each profile of each experiment."""
    stores = {small: stores_for("smoke" if small else "desk", given.out) for small in (True, False)}
    durations = {small: Durations(store.records()) for small, store in stores.items()}
    rows = []
    for module in experiments.EXPERIMENTS.values():
        for profile in module.PROFILES:
            small = profile in SMALL
            account = _account(module, profile, stores[small], durations[small])
            rows.append((module.NAME, profile, *account))
    head = ("experiment", "profile", "done", "missing", "diverged", "stale", "time left (one job)")
    print(table(head, rows))
    print("missing: of the runs planned so far; a later stage is planned once the one before has its records")
    return 0


def _account(
    module: Experiment, profile: str, store: Store, durations: Durations
) -> tuple[int, int, int, int, str]:
    planned = module.plan(profile, store)
    found = {run.spec.hash: store.get(run.spec) for run in planned}
    records = [record for record in found.values() if record]
    absent = [run.spec for run in missing(planned, store)]
    stale = sum(store.get(spec, stale=True) is not None for spec in absent)
    diverged = sum(record.diverged for record in records)
    return len(records), len(absent), diverged, stale, _left(absent, durations)


def _left(absent: Sequence[RunSpec], durations: Durations) -> str:
    """Time of the runs whose like was made before, and how many are not among them."""
    if not absent:
        return "none"
    known = [seconds for spec in absent if (seconds := durations.guess(spec)) is not None]
    if not known:
        return "unknown"
    unknown = len(absent) - len(known)
    return duration(sum(known)) + (f" and {unknown} runs of unknown length" if unknown else "")


def show(given: argparse.Namespace) -> int:
    """All that a record says, its series in short."""
    prefix = given.run.partition("-")[0].lower()
    if len(prefix) < SHORTEST_PREFIX:
        raise RecordError(
            f"{given.run!r} is too short: give at least {SHORTEST_PREFIX} characters of the hash"
        )
    found = stores_for("smoke", given.out).candidates(prefix)
    if not found:
        raise RecordError(f"no record begins with {prefix!r}: status shows what is there")
    if len({record.spec.hash for record in found}) > 1:
        names = ", ".join(sorted({record.spec.hash[:16] for record in found}))
        raise RecordError(f"several records begin with {prefix!r}: {names}")
    print("\n\n".join("\n".join(_lines(record)) for record in found))
    return 0


def _lines(record: Record) -> Iterator[str]:
    yield f"{record.name}{'  (stale)' if is_stale(record) else ''}"
    yield f"status: {record.status}{f' ({record.notes})' if record.notes else ''}"
    parts: dict[str, Mapping[str, object]] = {
        "spec": record.spec.canonical(),
        "labels": record.labels,
        "metrics": record.metrics,
        "cost": record.cost,
        "provenance": record.provenance,
    }
    for title, part in parts.items():
        yield f"{title}:"
        yield from (f"  {name}: {value}" for name, value in part.items())
    yield "series:"
    for name in record.stored:
        steps, values = record.series(name)
        if len(steps):
            ends = f"{values[0]:.6g} at {steps[0]} to {values[-1]:.6g} at {steps[-1]}"
            yield f"  {name}: {len(steps)} points, {ends}"


def verify(given: argparse.Namespace) -> int:
    """Every problem with the file that has it; exit code 1 if there is one."""
    store = Store(given.folder) if given.folder else stores_for("smoke")
    if given.folder and not given.folder.is_dir():
        raise RecordError(f"{given.folder} is no folder: name one that holds records")
    problems = list(store.verify())
    for problem in problems:
        print(problem)
    canaries = [] if given.folder else [*filter(None, map(outstanding, experiments.EXPERIMENTS))]
    for what in canaries:
        print(what)
    count = sum(1 for _ in store.paths())
    print(f"{count} records, {len(problems) + len(canaries)} problems")
    return 1 if problems or canaries else 0
