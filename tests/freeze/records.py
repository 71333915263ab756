"""The records that the freeze reads: a kept list of files, so that later ones change nothing."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adatune_lite.runs.record import Record
from adatune_lite.training.spec import RunSpec

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("records.txt")


def names() -> list[str]:
    """The kept files without folder and ending."""
    return LIST.read_text(encoding="utf-8").split()


def _place(name: str, root: Path) -> Path:
    return root / "data" / "runs" / name[:2] / f"{name}.json"


@cache
def kept() -> dict[str, Record]:
    """The kept records by the hash of their spec.

    Whether the code has changed since is not asked: other tests see to that.
    """
    found = [Record.from_json(_place(name, ROOT).read_bytes()) for name in names()]
    records = {record.spec.hash: record for record in found}
    assert len(records) == len(found), "two kept records of one spec: which one is read must not be left open"
    return records


class Kept:
    """A store of the kept records."""

    def get(self, spec: RunSpec) -> Record | None:
        return kept().get(spec.hash)


class Filled:
    """The kept records, and made-up ones for all other specs: then every stage of a plan is known.

    A made-up record is a kept one of the same kind of run with slightly different figures, both given by the
    hash of the spec. Its numbers mean nothing; that they stay the same is what counts.
    """

    def get(self, spec: RunSpec) -> Record | None:
        return kept().get(spec.hash) or _made_up(spec)


@cache
def _alike() -> dict[tuple[str, ...], list[Record]]:
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for _, record in sorted(kept().items()):
        for key in _kinds(record.spec) if record.finished else ():
            groups[key].append(record)
    return groups


def _kinds(spec: RunSpec) -> list[tuple[str, ...]]:
    """What kind of run it is, ever less exactly."""
    start, names = (spec.function, spec.method), sorted(dict(spec.settings))
    return [(*start, spec.optimizer, spec.task.dataset, *names), (*start, *names), start, (spec.function,)]


@cache
def _made_up(spec: RunSpec) -> Record | None:
    for kind in _kinds(spec):
        if found := _alike().get(kind):
            chance = int(spec.hash[:8], 16)
            record, factor = found[chance % len(found)], 1 + 0.02 * (chance % 997) / 997
            metrics = {
                name: value * (factor if "loss" in name else 2 - factor if "accuracy" in name else 1)
                for name, value in record.metrics.items()
            }
            stored = {
                name: _stretched(
                    series, record.spec.steps, spec.steps, whole=name == "lr" and spec.detail == "full"
                )
                for name, series in record.stored.items()
            }
            return replace(record, spec=spec, metrics=metrics, stored=stored)
    return None


def _stretched(series: dict[str, list[Any]], steps: int, wanted: int, *, whole: bool) -> dict[str, list[Any]]:
    """A series of a run of so many steps as one of another length; `whole`: a value for each step."""
    values = series["values"]
    if whole:
        return {"values": [values[k * len(values) // wanted] for k in range(wanted)]}
    if "steps" not in series:
        return series
    moved = {round(k * wanted / steps): value for k, value in zip(series["steps"], values, strict=True)}
    return {"steps": list(moved), "values": list(moved.values())}


@contextmanager
def checkout() -> Iterator[Path]:
    """A checkout with the kept records alone as working folder, for what opens the store by itself."""
    before = Path.cwd()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "adatune_lite").mkdir()
        (root / "pyproject.toml").touch()
        for name in names():
            place = _place(name, root)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(_place(name, ROOT))
        os.chdir(root)
        try:
            yield root
        finally:
            os.chdir(before)
