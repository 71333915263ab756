"""What the tests of whole experiments share: the smoke profile, made once, and stores with other records."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl

from adatune_lite.report.search import Reader
from adatune_lite.runs.execute import complete
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.training.spec import RunSpec

Smoke = Callable[[ModuleType], Any]
"""Results of an experiment's smoke profile: what the fixture `smoke` is."""


def smoke(experiment: ModuleType, folder: Path) -> Any:
    """Make the runs of the profile that are missing in a folder; returns the experiment's results.

    Of several processes with one folder the first makes them all while the others wait.
    """
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{experiment.NAME}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = Store(folder / experiment.NAME)
        summary = complete(experiment, "smoke", store, progress=lambda state: None)
    assert not summary.failed
    return experiment.results("smoke", store)


class Empty:
    """A store without records."""

    def get(self, spec: RunSpec) -> Record | None:
        return None


class Everything:
    """A store that has a record of every run: one of those given, of the same function and method if any."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._alike: dict[tuple[str, ...], Record] = {}
        for record in records:
            self._alike.setdefault((record.spec.function, record.spec.method), record)
            self._alike.setdefault((record.spec.function,), record)

    def get(self, spec: RunSpec) -> Record | None:
        alike = self._alike.get((spec.function, spec.method)) or self._alike.get((spec.function,))
        return alike and replace(alike, spec=spec)


class Changed:
    """A store in which some records, by the hash of their spec, are replaced, or hidden with None."""

    def __init__(self, store: Reader, change: Mapping[str, Record | None]) -> None:
        self._store, self._change = store, change

    def get(self, spec: RunSpec) -> Record | None:
        return self._change[spec.hash] if spec.hash in self._change else self._store.get(spec)
