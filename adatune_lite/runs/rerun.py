"""One finished desk run of each run function made again, by accepted and by present code, bit for bit.

A canary is small, and what it vouches for is not: before changed code is accepted, a run as long as those
that pages show is made by both codes in one place (see `again`). The accepted code comes out of the
repository's history, the present one is that of the working folder.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adatune_lite import files
from adatune_lite.runs.canary import EPOCHS, Finding
from adatune_lite.runs.freshness import SHORT
from adatune_lite.runs.provenance import Kind
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import THREAD_SETTINGS
from adatune_lite.tasks.spec import pairs
from adatune_lite.training.spec import RunSpec

STEPS = 400
"""A run of at least so many steps is chosen where there is one."""
OUTER_STEPS = 2
"""Of LRS-OPT: its first ones tell, and all of them take minutes."""
COMMITS = 40
"""How many commits that changed the package are looked through for an accepted code."""


@dataclass
class Desk:
    """A desk run to be made again, and what came of it."""

    spec: RunSpec
    accepted: list[set[str]]
    """Code hashes (their first characters); of each set, one is compared with the present code."""
    commits: dict[str, str] = field(default_factory=dict)
    """Commits that are compared, by the code that they have."""
    differences: list[str] = field(default_factory=list)
    undone: str = ""
    """Why it could not be compared, in a sentence."""

    @property
    def equal(self) -> bool | None:
        """Whether all bits are the same; None: not compared."""
        return None if self.undone and not self.differences else not self.differences

    def __str__(self) -> str:
        spec = self.spec
        return f"{spec.function}, {spec.method} on {spec.task.dataset}, {spec.steps} steps ({spec.hash[:16]})"


def wanted(findings: Sequence[Finding], records: Iterable[Record]) -> dict[str, Desk]:
    """The desk runs that changed code asks for, by run function; none where no run is there.

    findings: of one or several experiments, and their records.
    """
    changed = [found for found in findings if found.changed]
    held: dict[Kind, list[Record]] = {found.kind: [] for found in changed}
    for record in records:
        if record.finished and record.labels.get("profile") == "desk" and Kind.of(record.spec) in held:
            held[Kind.of(record.spec)].append(record)
    desks: dict[str, Desk] = {}
    for function in dict.fromkeys(found.kind.function for found in changed):
        there = [record for kind, found in held.items() if kind.function == function for record in found]
        if not there:
            continue
        record = min(there, key=_preference)
        kind = Kind.of(record.spec)
        evidence = [found for found in changed if found.kind == kind]
        desks[function] = Desk(reduced(record.spec), list(_accepted(evidence, held[kind])))
    return desks


def _accepted(findings: Sequence[Finding], records: Sequence[Record]) -> Iterator[set[str]]:
    made = {record.code[:SHORT] for record in records}
    for found in findings:
        assert found.kept is not None
        present = found.code[:SHORT]
        if present not in found.kept.codes:
            yield set(found.kept.codes)
        yield from ({code} for code in found.kept.provisional if code in made and code != present)


def _epochs(spec: RunSpec) -> float:
    return spec.steps / (spec.task.train // spec.task.batch)


def _preference(record: Record) -> tuple[bool, int, float]:
    """The best first: over EPOCHS, long enough, cheap."""
    spec = record.spec
    return _epochs(spec) <= EPOCHS, -min(spec.steps, STEPS), float(record.cost.get("seconds", 0.0))


def reduced(spec: RunSpec) -> RunSpec:
    """The same run where it is short and crosses EPOCHS; else one made for the comparison."""
    settings: dict[str, Any] = dict(spec.settings)
    if "outer_steps" in settings:
        settings["outer_steps"] = min(settings["outer_steps"], OUTER_STEPS)
    task = spec.task
    if _epochs(spec) <= EPOCHS:
        epoch = max(1, (spec.steps - 1) // EPOCHS)
        task = replace(task, train=task.batch * epoch)
        if "superbatch" in settings:
            settings["superbatch"] = min(settings["superbatch"], epoch)
    return replace(spec, task=task, settings=pairs(settings))


def compare(desks: dict[str, Desk], store: Store) -> None:
    """Make the runs by both codes, two processes at a time, and write into each what came out."""
    asked = [desk for desk in desks.values() if desk.accepted]
    with tempfile.TemporaryDirectory() as folder:
        sources = _find(asked, Path(folder), store)
        for commit, source in sources.items():
            chosen = [desk for desk in asked if commit in desk.commits.values() and not desk.undone]
            specs = [desk.spec for desk in chosen]
            with ThreadPoolExecutor(2) as pool:
                old_code = pool.submit(ask, source, specs, store)
                now, before = ask(files.PACKAGE.parent, specs, store), old_code.result()
            for desk, old, new in zip(chosen, before, now, strict=True):
                desk.undone = old.get("missing", "") or new.get("missing", "")
                if not desk.undone:
                    desk.differences += [
                        f"{desk}: {what} than at {commit[:12]}" for what in differing(old, new)
                    ]


def _find(desks: Sequence[Desk], folder: Path, store: Store) -> dict[str, Path]:
    """Exports of the commits that have accepted codes, by commit."""
    sources: dict[str, Path] = {}
    open_ones = list(desks)
    for commit in _commits():
        if not open_ones:
            break
        place = folder / commit
        try:
            _export(commit, place)
            if not (place / files.PACKAGE.name / "runs" / "again.py").is_file():
                break  # Older than the comparison itself.
            codes = [
                entry["code"][:SHORT] for entry in ask(place, [d.spec for d in open_ones], store, run=False)
            ]
        except (OSError, subprocess.CalledProcessError, tarfile.TarError, ValueError, KeyError):
            continue  # A commit half-way through a change need not run.
        for desk, code in zip(open_ones, codes, strict=True):
            if any(code in accepted for accepted in desk.accepted):
                desk.commits[code] = commit
                sources[commit] = place
        open_ones = [desk for desk in open_ones if not _complete(desk)]
    for desk in open_ones:
        desk.undone = (
            f"{desk}: no commit among the last {COMMITS} that changed the package has the accepted code "
            "and can make runs again"
        )
    return sources


def _complete(desk: Desk) -> bool:
    return all(accepted & desk.commits.keys() for accepted in desk.accepted)


def _commits() -> list[str]:
    """The last ones that changed the package, the present one first."""
    head = _git("rev-parse", "HEAD")
    changing = _git("rev-list", "-n", str(COMMITS), "HEAD", "--", files.PACKAGE.name)
    return list(dict.fromkeys((head.stdout + changing.stdout).decode().split()))


def _export(commit: str, place: Path) -> None:
    done = _git("archive", commit, files.PACKAGE.name, "pyproject.toml")
    done.check_returncode()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(place, filter="data")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git", "-C", str(files.PACKAGE.parent), *arguments], capture_output=True, check=False
    )


def ask(place: Path, specs: Sequence[RunSpec], store: Store, run: bool = True) -> list[dict[str, Any]]:
    """What the code in the folder `place` gives, see `again`.

    Raises:
        CalledProcessError: it cannot answer.
    """
    question = {"specs": [spec.canonical() for spec in specs], "store": str(store.root.resolve()), "run": run}
    environment = os.environ | dict.fromkeys(THREAD_SETTINGS, "1")
    environment |= {"PYTHONPATH": str(place), "ADATUNE_DATA": str(files.raw_folder())}
    done = subprocess.run(
        [sys.executable, "-m", "adatune_lite.runs.again"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=True,
        cwd=place,
        env=environment,
    )
    return json.loads(done.stdout)


def differing(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """A phrase for each figure whose bits are not the same in two answers; the status before all."""
    if old["status"] != new["status"]:
        yield f"it ends {new['status']!r}, not {old['status']!r},"
        return
    for name in sorted(old["figures"].keys() | new["figures"].keys()):
        before, now = old["figures"].get(name, []), new["figures"].get(name, [])
        if before != now:
            both = enumerate(zip(before, now, strict=False))
            first = next((i for i, (a, b) in both if a != b), min(len(before), len(now)))
            yield f"{name} is other from its entry {first} on"
