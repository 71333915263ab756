"""Writers of one folder that are killed: run as a program by test_store.py.

    python killed_writers.py FOLDER kill KILLS    kills writers at random moments
    python killed_writers.py FOLDER full          writers on a full disk

One process imports what a writer needs and forks the writers, so that hundreds take seconds. Prints JSON.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import resource
import signal
import sys
import time
from typing import Any

from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store, StoreError
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

TASK = TaskSpec("mnist5k", train=4000, validation=500, test=500)
TOGETHER = 4
"""Writers of the same records at a time."""


def made(seed: int) -> Record:
    """A record of about 8 kB whose content follows from its seed."""
    outcome = Outcome("finished", {"lr": [seed + k / 7 for k in range(400)]})
    return Record.of(RunSpec("training", TASK, "hd", 400, seed), outcome, code="c" * 64, device="cpu")


class Slow(io.FileIO):
    """A disk on which a writer is mostly in the middle of a file."""

    def write(self, content: Any) -> int:
        for start in range(0, len(content), 512):
            super().write(content[start : start + 512])
            time.sleep(0.0005)
        return len(content)


def slow_open(path: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
    """`open` for that disk."""
    return Slow(path, mode) if mode in ("wb", "xb") else io.open(path, mode, *more, **named)  # noqa: UP020


def write_on(folder: str, first: int, said: int) -> None:
    """Write one record after the other and confirm each, until killed."""
    import builtins

    builtins.open = slow_open
    store = Store(folder)
    for seed in itertools.count(first):
        store.put(made(seed))
        os.write(said, f"{seed}\n".encode())


def fork(folder: str, first: int, said: int) -> int:
    """The process of a writer that confirms to the pipe `said`."""
    process = os.fork()
    if not process:
        try:
            write_on(folder, first, said)
        finally:
            os._exit(1)
    return process


def kill_writers(folder: str, kills: int) -> dict[str, int]:
    """Rounds of writers of the same records, the first ones that no writer has confirmed yet."""
    rng = random.Random(0)
    confirmed, killed, failed = -1, 0, 0
    while killed < kills and not failed:
        heard, said = os.pipe()
        writers = [fork(folder, confirmed + 1, said) for _ in range(TOGETHER)]
        os.close(said)
        # Every other round gets on, however slow the machine is.
        words = os.read(heard, 1000) if killed % (2 * TOGETHER) else b""
        for process in writers:
            time.sleep(rng.uniform(0, 0.02))
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            killed += os.WIFSIGNALED(status)
            failed += os.WIFEXITED(status)
        while more := os.read(heard, 1000):
            words += more
        os.close(heard)
        confirmed = max([confirmed, *map(int, words.split())])
    return {"killed": killed, "confirmed": confirmed, "failed": failed}


def fill_disk(folder: str) -> dict[str, list[str]]:
    """What is said where a file may have 0 or 4,096 bytes, a limit that binds root as well."""
    store, said = Store(folder), []
    _, allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    store.put(made(0))
    for size in (0, 4096):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, allowed))
        for seed in (0, 1):
            try:
                store.put(made(seed))
            except StoreError as error:
                said.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, allowed))
    store.put(made(1))
    return {"said": said}


if __name__ == "__main__":
    result = kill_writers(sys.argv[1], int(sys.argv[3])) if sys.argv[2] == "kill" else fill_disk(sys.argv[1])
    print(json.dumps(result))
