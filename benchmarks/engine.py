"""What hypergradients cost, in plain training steps (`steps`) and in plain trainings.

One thread, float32; bfloat16 as well where the CPU has it. Times are medians over interleaved pairs (baseline
and method directly after each other, their order alternating), as ratios with the distribution-free 95 %
interval of the median from order statistics; a target holds if the interval's lower end meets it. With one
thread it is the processor's time that counts. Trainings are of the MNIST network of MARTHE (784-500-500-10),
batch 100; one of T = 512 is too long for many pairs: its ratio is measured with T = 32 (the cost is linear in
T) and, once, with T = 512 in a fresh process, which also gives the peak memory above the process before the
call. The part "loop" has our training loop, AutoLR's decisions and the largest eigenvalue: see `loops` and
`extras`; "cifar" the steps of narrow networks: see `cifar`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from adatune_lite import files
from benchmarks import linear, memory
from benchmarks.cifar import cifar_rows
from benchmarks.extras import autolr_rows, eigenvalue_rows
from benchmarks.loops import SPEC, loop_rows
from benchmarks.measure import Row, median_interval, ratios, seconds, show
from benchmarks.memory import peak
from benchmarks.setup import Setup
from benchmarks.steps import FEW, has_bfloat16, step_rows

HORIZON, CHECKPOINTS = 512, 23
SHORT, SHORT_CHECKPOINTS = 32, 6  # recompute 25 of 32 steps, the most there is; 23 checkpoints do 484 of 512
MEGABYTE = 1e6
NARROW = 0.125  # of ResNet-18, where a step takes tenths of a second and an overhead weighs more
PARTS = ("mlp", "vgg", "cifar", "schedules", "memory", "linear", "loop")


def training_rows(pairs: int) -> list[Row]:
    """A whole schedule's hypergradient against plain training, with T = SHORT."""
    setup = Setup()
    methods: list[tuple[str, Callable[[], Tensor], float | None]] = [
        ("LRS-OPT hypergradient, iterates stored", lambda: setup.hypergradient(SHORT), 4.4),
        ("LRS-OPT hypergradient, checkpoints", lambda: setup.hypergradient(SHORT, SHORT_CHECKPOINTS), 5.4),
        ("LRS-OPT hypergradient, graphs kept", lambda: setup.hypergradient(SHORT, keep_graph=True), 3.8),
        ("plain autograd through the unrolled loop", lambda: setup.unrolled(SHORT), None),
    ]
    note = f"T = {SHORT}, {pairs} pairs"
    return [
        Row(
            name,
            *median_interval(ratios(lambda: setup.plain(SHORT), work, pairs)),
            target,
            "plain trainings",
            note,
        )
        for name, work, target in methods
    ]


def resident() -> float:
    """Memory of this process now, in bytes; where the system does not tell, the peak so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak()
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def measure(kind: str) -> dict[str, float | str]:
    """In a fresh process: peak memory above the start, time and digits of one hypergradient with T = 512."""
    setup = Setup()
    work = {
        "stored": lambda: setup.hypergradient(HORIZON),
        "checkpoints": lambda: setup.hypergradient(HORIZON, CHECKPOINTS),
        "graph": lambda: setup.hypergradient(HORIZON, keep_graph=True),
        "unrolled": lambda: setup.unrolled(HORIZON),
    }[kind]
    setup.plain(2)
    plain = seconds(lambda: setup.plain(HORIZON))
    before = resident()
    start, processor = time.perf_counter(), time.process_time()
    slope = work()
    taken, processor = time.perf_counter() - start, time.process_time() - processor
    digest = hashlib.sha256(slope.numpy().tobytes()).hexdigest()
    return {"bytes": peak() - before, "ratio": processor / plain, "seconds": taken, "digest": digest}


def horizon_rows() -> list[Row]:
    """Memory and one time ratio of each way with T = 512, each in a process of its own."""
    rows, digests = [], {}
    for kind, what, target in (
        ("stored", "LRS-OPT hypergradient, iterates stored", 1600.0),
        ("checkpoints", f"LRS-OPT hypergradient, {CHECKPOINTS} checkpoints", 300.0),
        ("graph", "LRS-OPT hypergradient, graphs kept", None),
        ("unrolled", "plain autograd through the unrolled loop", None),
    ):
        command = [sys.executable, "-m", "benchmarks", "--measure", kind]
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["killed, probably for lack of memory"]
            rows.append(Row(what, math.nan, math.nan, math.nan, target, "MB", f"failed: {reason[0]}"))
            continue
        found = json.loads(done.stdout)
        digests[kind] = found["digest"]
        megabytes = found["bytes"] / MEGABYTE
        note = f"T = {HORIZON}, one run: {found['ratio']:.2f} plain trainings, {found['seconds']:.1f} s"
        rows.append(Row(what, megabytes, megabytes, megabytes, target, "MB", note))
    ways = {digests.get(kind) for kind in ("stored", "checkpoints", "graph")}
    differ = float(None in ways or len(ways) > 1)
    rows.append(
        Row("digits differ between the three ways", differ, differ, differ, 0.0, "", f"T = {HORIZON}")
    )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Prints the table, writes build/bench/engine.json; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--pairs", type=int, default=30, help="interleaved pairs of each comparison, at least 30"
    )
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="parts to measure")
    kinds = ("stored", "checkpoints", "graph", "unrolled", *memory.KINDS)
    parser.add_argument("--measure", choices=kinds, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    available = torch.get_num_threads()
    torch.set_num_threads(1)
    if options.measure:
        of_step = options.measure in memory.KINDS
        print(json.dumps((memory.measure if of_step else measure)(options.measure)))
        return 0
    if options.pairs < 30:
        parser.error(f"--pairs must be at least 30, not {options.pairs}")
    start = time.perf_counter()
    rows: list[Row] = []

    def report(more: list[Row]) -> None:
        rows.extend(more)
        for row in more:
            print(show(row), flush=True)

    if "mlp" in options.only:
        report(step_rows("mlp", 2 * options.pairs, judged=True))
    if "vgg" in options.only:
        report(step_rows("vgg11", options.pairs, judged=True))
        if has_bfloat16():
            report(step_rows("vgg11", options.pairs, judged=True, bfloat16=True))
            report(step_rows("mlp", options.pairs, judged=True, bfloat16=True))
        else:
            print("bfloat16: this CPU does not multiply it, not measured", flush=True)
    if "cifar" in options.only:
        report(cifar_rows(options.pairs))
    if "schedules" in options.only:
        report(training_rows(options.pairs))
    if "memory" in options.only:
        report(memory.rows())
        report(horizon_rows())
    if "loop" in options.only:
        narrow = replace(SPEC, width=NARROW)
        report(loop_rows(narrow, 4, options.pairs, judged=False))
        report(eigenvalue_rows())
        report(autolr_rows(SPEC, FEW))
        report(loop_rows(SPEC, 1, options.pairs, judged=True))
    for threads in sorted({2, available} - {1}) if "mlp" in options.only else ():
        torch.set_num_threads(threads)
        report(step_rows("mlp", options.pairs, judged=False))
    torch.set_num_threads(1)
    if "linear" in options.only:
        kept = files.project_root() / "build" / "bench" / "linear.json"
        files.replace(kept, json.dumps(linear.table(), indent=1).encode())
        print(f"growth with steps and weights: {kept.relative_to(files.project_root())}")
    taken = time.perf_counter() - start
    summary = {
        "rows": [{**asdict(row), "holds": row.holds} for row in rows],
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "bfloat16": has_bfloat16(),
        "load": os.getloadavg()[0],
        "seconds": taken,
    }
    out = files.project_root() / "build" / "bench" / "engine.json"
    files.replace(out, json.dumps(summary, indent=1).encode())
    print(f"{taken:.0f} s, load {summary['load']:.1f}; written to {out.relative_to(files.project_root())}")
    missed = [row.what for row in rows if not row.holds]
    if missed:
        print(f"missed: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0
