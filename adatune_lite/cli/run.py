"""`run`: make the missing runs of an experiment, the most valuable first."""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite import checkpoint, experiments, files
from adatune_lite.cli.exchange import packed
from adatune_lite.cli.tables import table
from adatune_lite.runs.compare import HEAD, compare, store_for_again
from adatune_lite.runs.execute import ExecutionError, Experiment, Summary, complete, default_jobs
from adatune_lite.runs.pack import pack
from adatune_lite.runs.progress import duration
from adatune_lite.runs.selection import Selection, SelectionError, parse_seeds
from adatune_lite.runs.shard import Shard, ShardError
from adatune_lite.runs.store import Store, stores_for

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="make the missing runs of an experiment")
    parser.set_defaults(do=run)
    parser.add_argument("experiment", metavar="EXPERIMENT", help="name or number, for example 01")
    parser.add_argument("--profile", required=True, help="smoke, quick, desk or paper")
    parser.add_argument("--budget", type=budget, metavar="TIME", help="stop in time: 90s, 25m, 1h30m")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: one per core)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write records here, and a summary")
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
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=(),
        metavar="TASK",
        help="only runs on these data sets, e.g. mnist, or on a data set with a network, e.g. mnist/conv4",
    )
    parser.add_argument("--seeds", type=seeds, metavar="SEEDS", help="only runs of these seeds: 0,1,2 or 5-9")
    parser.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="only the I-th of N parts (1 to N), for machines that do not talk; runs that depend on another "
        "part are not planned until its records are merged",
    )
    parser.add_argument(
        "--pack",
        nargs="?",
        type=Path,
        const=True,
        metavar="DIR",
        help="at the end put all records of --out into at most 8 files under 16 MiB for `merge`, in DIR "
        "(default: the folder `packs` in --out)",
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


def shard(text: str) -> Shard:
    """The shard i/n, as argparse wants it."""
    try:
        return Shard.parse(text)
    except ShardError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def seeds(text: str) -> frozenset[int]:
    """The seeds, as argparse wants them."""
    try:
        return parse_seeds(text)
    except SelectionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(given: argparse.Namespace) -> int:
    """Complete an experiment in one profile; exit code 1 if a run failed or a record was not packed."""
    if given.pack and not given.out:
        raise ExecutionError("--pack needs --out: name the folder whose records are packed")
    module = experiments.find(given.experiment)
    present = stores_for(given.profile)
    store = stores_for(given.profile, given.out)
    if given.reuse == "none":
        store = Store(given.out) if given.out else store_for_again()
    with terminated_like_ctrl_c():
        summary = complete(
            module,
            given.profile,
            store,
            jobs=default_jobs(given.profile) if given.jobs is None else given.jobs,
            device=given.device,
            budget_s=given.budget,
            selection=Selection(
                tuple(given.limit_role), tuple(given.tasks), given.seeds or frozenset(), given.shard
            ),
        )
    _tell(module, given, store, summary)
    if given.reuse == "none":
        found = compare(module.plan(given.profile, store), present, store)
        print(found.sentence())
        if found.rows:
            print(table(HEAD, found.rows))
    return 1 if summary.failed or (given.pack and not _pack(given)) else 0


def _pack(given: argparse.Namespace) -> bool:
    folder = given.out / "packs" if given.pack is True else given.pack
    done = pack(given.out, folder, checkpoint.folder().glob("*.pt"))
    print(packed(done, folder))
    return not done.left_out


@contextlib.contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """End as after Ctrl-C, workers included, when a scheduler or `timeout` sends SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(module: Experiment, given: argparse.Namespace, store: Store, summary: Summary) -> None:
    part = f" (shard {given.shard})" if given.shard else ""
    why = " (the budget is used up)" if summary.out_of_time else ""
    under_way = f"{summary.interrupted} stopped under way; " if summary.interrupted else ""
    account = (
        f"{module.NAME} {given.profile}{part}: {summary.done} runs made in {duration(summary.seconds)}, "
        f"{summary.diverged} of them diverged; {len(summary.failed)} failed; {under_way}"
        f"{summary.left} missing{why}; records in {store.root}"
    )
    for sentence in summary.failed:
        print(sentence, file=sys.stderr)
    print(account)
    if given.out:
        name = f"summary-{str(given.shard).replace('/', '-of-')}.txt" if given.shard else "summary.txt"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = "\n".join([now, account, *summary.failed, ""])
        files.replace(given.out / name, text.encode(errors="backslashreplace"))
