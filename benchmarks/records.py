"""Processor seconds of `status` and `scorecard` beyond the import of torch, with few and with many records.

    python -m benchmarks.records [--synthetic 20000] [--times 3]

The committed records, and as many with further seeds as make 20,000, lie in a checkout of their own whose
canaries accept the present code, so that none is stale. The first call makes the index and is told apart.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adatune_lite import files
from adatune_lite.runs import freshness, provenance
from adatune_lite.runs.store import Store

COMMANDS = ("status", "scorecard")


def seconds(arguments: Sequence[str], folder: Path) -> float:
    """User and system time of one Python process in a folder, which keeps its compiled modules beside it."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    caches = folder.parent / "compiled"
    more = {"PYTHONPATH": str(files.PACKAGE.parent), "PYTHONPYCACHEPREFIX": str(caches)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**kept, **more, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def checkout(folder: Path) -> Store:
    """The committed records in a checkout in which they are fresh."""
    (folder / files.PACKAGE.name).mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    for name in ("runs", "canaries", "reference"):
        shutil.copytree(files.PACKAGE.parent / "data" / name, folder / "data" / name)
    os.chdir(folder)
    for path in sorted((folder / "data" / "canaries").glob("*.json")):
        canary = freshness.read(path.stem)
        assert canary is not None
        for kind, held in canary.kinds.items():
            present = provenance.code_hash(kind)[: freshness.SHORT]
            canary = canary.with_evidence(kind, replace(held, codes=(*held.codes, present)))
        freshness.write(canary)
    return Store(folder / "data" / "runs")


def fill(store: Store, count: int) -> None:
    """Records of further seeds beside those that are there, until there are so many."""
    made = list(store.records())
    for k in range(len(made), count):
        like = made[k % len(made)]
        record = replace(like, spec=replace(like.spec, seed=like.spec.seed + 100_000 * (k // len(made))))
        path = store.root / record.name[:2] / f"{record.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(record.to_json())  # Not through `put`, which makes each durable.


def measure(folder: Path, times: int, of: int) -> None:
    """Print a line for each command."""
    first = seconds(["-m", "adatune_lite", "status"], folder)
    torch = min(seconds(["-c", "import torch"], folder) for _ in range(times))
    print(f"{of:,} records: status {first - torch:.2f} s while it makes the index; torch {torch:.2f} s")
    for command in COMMANDS:
        whole = min(seconds(["-m", "adatune_lite", command], folder) for _ in range(times))
        print(f"{of:,} records: {command} {whole - torch:.2f} s")


def main() -> int:
    """Both numbers of records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--synthetic", type=int, default=20_000, help="records in all")
    parser.add_argument("--times", type=int, default=3, help="calls, of which the quickest counts")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = checkout(Path(scratch) / "checkout")
        seconds(["-m", "adatune_lite", "status"], store.root.parents[1])  # compiles
        (store.root / ".index").unlink(missing_ok=True)
        measure(store.root.parents[1], given.times, sum(1 for _ in store.paths()))
        fill(store, given.synthetic)
        measure(store.root.parents[1], given.times, sum(1 for _ in store.paths()))
        os.chdir(files.PACKAGE.parent)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
