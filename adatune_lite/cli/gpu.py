"""`gpu`: the day an accelerator is there, perhaps for minutes: one command that makes the most of it."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite import checkpoint, experiments, files
from adatune_lite.cli.data import megabytes
from adatune_lite.cli.exchange import packed
from adatune_lite.cli.run import terminated_like_ctrl_c
from adatune_lite.runs.execute import ExecutionError, Summary, complete, device_kind
from adatune_lite.runs.merge import Merged
from adatune_lite.runs.merge import merge as merge_records
from adatune_lite.runs.pack import pack
from adatune_lite.runs.store import Store, stores_for
from adatune_lite.runs.visit import Check, Checked, Everything, checked, device_checks, visit
from adatune_lite.tasks import sources

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

JOBS = 8
"""Small runs at a time that a device is shared by, if there are as many cores."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("gpu", help="minutes on a machine with an accelerator: checks, runs, packs")
    parser.set_defaults(do=gpu)
    parser.add_argument("--minutes", type=minutes, required=True, metavar="M", help="how long it may take")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="records and the report; packs in it go on"
    )
    parser.add_argument(
        "--pack-mb",
        type=megabytes,
        required=True,
        metavar="P",
        help="size of the files that go back, at most",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help=f"runs at a time (default: cores, up to {JOBS})"
    )


def minutes(text: str) -> float:
    """Seconds of so many minutes, as argparse wants it."""
    with contextlib.suppress(ValueError):
        if 0 < (found := float(text)) < math.inf:
            return 60 * found
    raise argparse.ArgumentTypeError(f"{text!r} is no time: write a number of minutes above 0")


def gpu(given: argparse.Namespace) -> int:
    """Exit code 1 if a check or a run failed, or something could not be packed."""
    start = time.monotonic()
    device = device_kind(given.device)
    if given.out.exists() and not given.out.is_dir():
        raise ExecutionError(f"{given.out} is a file: name a folder for --out")
    store = stores_for("paper", given.out)
    store.check_writable()
    packs = given.out / "packs"
    report = [f"{datetime.now(UTC).isoformat(timespec='seconds')}, on {device}"]

    def tell(line: str) -> None:
        print(line, flush=True)
        report.append(line)
        files.replace(given.out / "report.txt", "\n".join([*report, ""]).encode())

    before = _taken(packs, Store(given.out))
    if before:
        tell(f"from last time: {len(before.new)} records, {before.checkpoints} runs under way")
        for sentence in before.refused:
            tell(sentence)
    every = Everything(experiments.EXPERIMENTS.values(), cache(_at_hand))
    root = files.project_root()

    def check(one: Check, seconds: float) -> Checked:
        return checked(one, seconds, root, given.out / f"{one.name.replace(' ', '-')}.log")

    def make(seconds: float) -> Summary:
        jobs = given.jobs if given.jobs is not None else min(JOBS, os.cpu_count() or 1)
        (profile,) = every.PROFILES
        return complete(every, profile, store, jobs=jobs, device=device, budget_s=seconds)

    with terminated_like_ctrl_c():
        try:
            every.plan("", store)  # finds and decodes the data, once for all plans
            left = given.minutes - (time.monotonic() - start)
            sound = visit(left, device_checks(root, device), check, make, tell)
        finally:
            done = pack(
                given.out, packs, checkpoint.folder().glob("*.pt"), limit=given.pack_mb, most=math.inf
            )
            if not (before and before.refused):  # what they hold was taken up and is in the new ones
                for path in set(packs.glob("records-*.zip")) - set(done.paths):
                    path.unlink()
    if every.left_out:
        tell(f"left out are the runs on {', '.join(sorted(every.left_out))}: they are not on this machine")
    tell(packed(done, packs))
    return 0 if sound and not done.left_out else 1


def _taken(packs: Path, store: Store) -> Merged | None:
    """What the packs of the last time hold; None without any."""
    return merge_records(packs, lambda record: store) if any(packs.glob("*.zip")) else None


def _at_hand(dataset: str) -> bool:
    """Whether a data set is on this machine; nothing is downloaded, and what is broken is said."""
    try:
        for part in sources.known(dataset).parts:
            sources.load_images(dataset, part, download=False)
    except sources.DataMissing:
        return False
    except sources.DataError as error:
        print(error, file=sys.stderr)
        return False
    return True
