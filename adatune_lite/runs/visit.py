"""A visit to a machine with an accelerator that is there for minutes: checks, runs, and all of it packed.

The checks come first and may take `CHECKS` of the time; what fails, is stopped or cannot be done is written
down, and the rest goes on. Then the most valuable missing runs of all experiments are made, `paper` and
`desk` together, until just enough time is left to pack what there is: records, and checkpoints of what is
under way. The next visit is given those packs and goes on from there.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from adatune_lite import files
from adatune_lite.runs.execute import Summary
from adatune_lite.runs.progress import duration
from adatune_lite.runs.store import Reader
from adatune_lite.runs.worker import Planned

CHECKS = 0.2
"""Of the time, for all checks together."""
PACKING, PACKING_SECONDS = 0.1, 60.0
"""Of the time, and seconds at most, that are kept for packing."""
PROFILES = ("paper", "desk")
PAPER_FIRST = 0.5
"""What is added to the priority of a run at the paper's scale."""


@dataclass(frozen=True)
class Check:
    """A command that tells whether the device does what it should, or how fast."""

    name: str
    command: Sequence[str]
    needs: str = ""
    """A module without which it cannot be done."""


@dataclass(frozen=True)
class Checked:
    """How a check ended."""

    sound: bool
    words: str


def device_checks(root: Path, device: str) -> list[Check]:
    """The tests marked gpu, in a checkout that has some, and the benchmark of steps on the device."""
    marked = [
        p for p in sorted((root / "tests").glob("test_*.py")) if "pytest.mark.gpu" in p.read_text("utf-8")
    ]
    tests = (sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *map(str, marked))
    found = [Check("tests marked gpu", tests, needs="pytest")] if marked else []
    if (root / "benchmarks" / "device.py").is_file():
        found.append(Check("benchmark", (sys.executable, "-m", "benchmarks.device", "--device", device)))
    return found


def checked(check: Check, seconds: float, root: Path, log: Path) -> Checked:
    """Do a check, for so many seconds at most; all that it says goes into the file `log`."""
    if check.needs and importlib.util.find_spec(check.needs) is None:
        return Checked(False, f"not done: {check.needs} is not installed here")
    try:
        done = subprocess.run(
            check.command,
            cwd=root,
            timeout=seconds,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        files.replace(log, error.output or b"")
        return Checked(False, f"stopped after {duration(seconds)}, see {log.name}")
    except OSError as error:
        return Checked(False, f"not done: {error}")
    files.replace(log, done.stdout)
    last = (done.stdout.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    if done.returncode:
        return Checked(False, f"failed with exit code {done.returncode} ({last}), see {log.name}")
    return Checked(True, f"done ({last})")


class Everything:
    """All experiments at the scales of `PROFILES` as one; runs without their data here are left out."""

    NAME = "all experiments"
    PROFILES: Mapping[str, object] = {"paper and desk": PROFILES}

    def __init__(self, modules: Iterable[ModuleType], at_hand: Callable[[str], bool]) -> None:
        self._modules, self._at_hand = list(modules), at_hand
        self.left_out: set[str] = set()
        """Data sets whose runs are left out."""

    def plan(self, profile: str, store: Reader) -> list[Planned]:
        """The runs of all experiments known so far, by their own priorities; equal ones `paper` first."""
        found: list[Planned] = []
        for module in self._modules:
            for scale in PROFILES:
                found += map(_valued, module.plan(scale, store))
        self.left_out |= {name for name in {r.spec.task.dataset for r in found} if not self._at_hand(name)}
        return [run for run in found if run.spec.task.dataset not in self.left_out]


def _valued(run: Planned) -> Planned:
    return replace(run, priority=run.priority + PAPER_FIRST) if run.profile == "paper" else run


def visit(
    seconds: float,
    checks: Sequence[Check],
    check: Callable[[Check, float], Checked],
    make: Callable[[float], Summary],
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Checks and runs of a visit, which lasts so many seconds with the packing; whether all went well.

    check: does one within so many seconds. make: makes runs for so many seconds. tell: writes a line down.
    clock: seconds from any start.
    """
    start = clock()
    sound = True
    for one in checks:
        left = CHECKS * seconds - (clock() - start)
        if left <= 0:
            tell(f"{one.name}: not done, the checks' time is used up")
            sound = False
            continue
        found = check(one, left)
        tell(f"{one.name}: {found.words}")
        sound &= found.sound
    left = seconds - min(PACKING * seconds, PACKING_SECONDS) - (clock() - start)
    if left <= 0:
        tell("runs: none, no time is left")
        return False
    done = make(left)
    for sentence in done.failed:
        tell(sentence)
    tell(
        f"runs: {done.done} made in {duration(done.seconds)}, {done.diverged} of them diverged; "
        f"{len(done.failed)} failed; {done.interrupted} stopped under way; {done.left} missing"
    )
    return sound and not done.failed
