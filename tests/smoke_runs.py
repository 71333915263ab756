"""What the tests of whole experiments share: the smoke profile run once, and a store with other records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl

from adatune_lite.report.search import Reader
from adatune_lite.runs.execute import complete
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.training.spec import RunSpec


def smoke(experiment: ModuleType, folder: Path) -> Any:
    """Make every run of the profile in a folder; returns the experiment's results."""
    mpl.use("Agg")
    store = Store(folder)
    summary = complete(experiment, "smoke", store, progress=lambda state: None)
    assert not summary.failed
    return experiment.results("smoke", store)


class Changed:
    """A store in which some records, by the hash of their spec, are replaced, or hidden with None."""

    def __init__(self, store: Reader, change: Mapping[str, Record | None]) -> None:
        self._store, self._change = store, change

    def get(self, spec: RunSpec) -> Record | None:
        return self._change[spec.hash] if spec.hash in self._change else self._store.get(spec)
