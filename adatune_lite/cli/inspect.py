"""`status`, `show` and `verify`: what is in the stores."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite import experiments
from adatune_lite.cli.tables import table
from adatune_lite.runs.durations import Durations
from adatune_lite.runs.execute import Experiment
from adatune_lite.runs.freshness import outstanding
from adatune_lite.runs.progress import duration
from adatune_lite.runs.record import Record, RecordError
from adatune_lite.runs.store import SMALL, Store, is_stale, stores_for
from adatune_lite.training import registry
from adatune_lite.training.spec import RunSpec

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

SHORTEST_PREFIX = 4
LIST_HEAD = ("run", "experiment", "profile", "role", "method", "seed", "status", "made")


def add(commands: Commands) -> None:
    """Add the commands."""
    parser = commands.add_parser("status", help="what is done and what is missing, by experiment and profile")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also look into this folder")
    parser.set_defaults(do=status)
    parser = commands.add_parser("show", help="one record, or a list of those with these labels")
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="the first characters of its spec hash, its file name, or an experiment: a list of its records",
    )
    parser.add_argument("--method", help="list the records of this method")
    parser.add_argument("--role", help="list the records made for this, for example report")
    parser.add_argument("--profile", help="list the records made for this profile")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also look into this folder")
    parser.set_defaults(do=show)
    parser = commands.add_parser("verify", help="check all records")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="by default both stores")
    parser.set_defaults(do=verify)


def status(given: argparse.Namespace) -> int:
    """A row for each profile of each experiment; below it what could not be read."""
    check_folder(given.out)
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
    print_unreadable(stores[True])
    return 0


def check_folder(folder: Path | None) -> None:
    """Raises RecordError if a folder that was named is none."""
    if folder and not folder.is_dir():
        raise RecordError(f"{folder} is no folder: name one that holds records")


def print_unreadable(store: Store) -> None:
    """How many files of records are not read, and a line for each reason."""
    names: dict[str, list[str]] = {}
    problems = store.unreadable()
    if problems:
        print(f"{len(problems)} files of records are not read and left alone:", file=sys.stderr)
    for problem in problems:
        names.setdefault(problem.what, []).append(problem.path.name)
    for what, of in names.items():
        more = f" and {len(of) - 1} more" if len(of) > 1 else ""
        print(f"  {of[0]}{more}: {what}", file=sys.stderr)


def _account(
    module: Experiment, profile: str, store: Store, durations: Durations
) -> tuple[int, int, int, int, str]:
    planned = module.plan(profile, store)
    found = {run.spec.hash: store.get(run.spec) for run in planned}
    records = [record for record in found.values() if record]
    absent = [run.spec for run in planned if found[run.spec.hash] is None]
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
    """All that a record says, its series in short; or a row for each record with the labels."""
    check_folder(given.out)
    store = stores_for("smoke", given.out)
    text = given.run.partition("-")[0].lower() if given.run else ""
    listed = given.method or given.role or given.profile
    if listed or not re.fullmatch(f"[0-9a-f]{{{SHORTEST_PREFIX},}}", text):
        records = _listed(store, given)
        print(table(LIST_HEAD, [_row(record) for record in records]))
        print(f"{len(records)} records; `show RUN` prints one in full")
        print_unreadable(store)
        return 0
    found = store.candidates(text)
    if not found:
        print_unreadable(store)
        raise RecordError(f"no record begins with {text!r}: status shows what is there")
    if len({record.spec.hash for record in found}) > 1:
        names = ", ".join(sorted({record.spec.hash[:16] for record in found}))
        raise RecordError(f"several records begin with {text!r}: {names}")
    print("\n\n".join("\n".join(_lines(record)) for record in found))
    return 0


def _listed(store: Store, given: argparse.Namespace) -> list[Record]:
    """The records of an experiment, method, role and profile, as far as they are named.

    Raises RecordError if there is none, with the words that there are.
    """
    if re.fullmatch("[0-9a-f]*[a-f][0-9a-f]*", given.run or ""):
        raise RecordError(
            f"{given.run!r} is too short: give at least {SHORTEST_PREFIX} characters of the hash"
        )
    records = list(store.records())
    wanted = {
        "experiment": experiments.find(given.run).NAME if given.run else None,
        "method": given.method and registry.method(given.method).name,
        "profile": given.profile,
        "role": given.role,
    }
    if not any(wanted.values()):
        raise RecordError("name a run or an experiment, or --method, --role or --profile")
    for what, value in wanted.items():
        if value:
            there = sorted({_label(record, what) for record in records})
            records = [record for record in records if _label(record, what) == value]
            if not records:
                raise RecordError(f"no such record has the {what} {value!r}; there are: {', '.join(there)}")
    return sorted(records, key=lambda r: (*map(partial(_label, r), wanted), r.spec.seed, r.spec.hash))


def _label(record: Record, what: str) -> str:
    return record.spec.method if what == "method" else record.labels.get(what, "none")


def _row(record: Record) -> tuple[object, ...]:
    labels = (_label(record, what) for what in ("experiment", "profile", "role", "method"))
    status = f"{record.status}{', stale' if is_stale(record) else ''}"
    made = str(record.provenance.get("start", ""))[:10]
    return record.spec.hash[:16], *labels, record.spec.seed, status, made


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
    """Every problem with the file that has it; exit code 1 if there is one.

    What stopped writers left behind is named and is none: it is swept once it is a day old.
    """
    check_folder(given.folder)
    store = Store(given.folder) if given.folder else stores_for("smoke")
    problems = list(store.verify())
    for problem in problems:
        print(problem)
    canaries = [] if given.folder else [*filter(None, map(outstanding, experiments.EXPERIMENTS))]
    for what in canaries:
        print(what)
    for path in store.left_behind():
        print(f"{path.name}: left behind by a writer that was stopped, or not written yet: no problem")
    count = sum(1 for _ in store.paths())
    print(f"{count} records, {len(problems) + len(canaries)} problems")
    return 1 if problems or canaries else 0
