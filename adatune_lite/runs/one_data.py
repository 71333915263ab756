"""Records of one run on several copies of its data: which of them counts, and for whom.

`run` makes what the published data at hand have no record of (`AtHand`). A page asks for nothing to be made:
it takes all runs of a task from one copy of the data, so that no mean and no difference mixes two; `held`
says which copies there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.spec import RunSpec

Data = dict[TaskSpec, str]
"""The checksum of the data that the runs of a task are read from."""


@runtime_checkable
class Copies(Protocol):
    """A store that can hold several records of a run, each on its own copy of the data."""

    def get(self, spec: RunSpec, *, data: str | None = None) -> Record | None:
        """The record of a spec, if data are named only one on these."""

    def candidates(self, prefix: str) -> list[Record]:
        """All records of a run."""


class AtHand:
    """A store for `run`: a record on other data is none where the published data are on this machine.

    They are looked for only where a record is not on published data: a finished experiment needs none.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._verified: dict[str, bool] = {}

    def get(self, spec: RunSpec) -> Record | None:
        """The record of a spec that is not to be made again, or None.

        Raises:
            DataError: the data that are there are damaged.
        """
        record = self._store.get(spec)
        return record if record is None or record.verified or not self._at_hand(spec.task.dataset) else None

    def _at_hand(self, dataset: str) -> bool:
        from adatune_lite.tasks.sources import verified_at_hand  # Readers of records need no torch.

        if dataset not in self._verified:
            self._verified[dataset] = verified_at_hand(dataset)
        return self._verified[dataset]


@dataclass(frozen=True)
class Held:
    """The data on which there are records of some runs."""

    published: Data
    others: Data
    """Of each task that has records on copies of its data: the copy with most of them."""
    several: bool
    """Whether a task has records on more than one, so that one has to be chosen."""


def held(store: Copies, specs: Iterable[RunSpec]) -> Held:
    """On which data there are records of the runs."""
    published: Data = {}
    copies: dict[TaskSpec, Counter[str]] = defaultdict(Counter)
    for spec in specs:
        for record in store.candidates(spec.hash):
            if record.verified:
                published[spec.task] = record.data_checksum
            else:
                copies[spec.task][record.data_checksum] += 1
    most = {task: max(sorted(found), key=found.__getitem__) for task, found in copies.items()}
    several = bool(most.keys() & published.keys()) or any(len(found) > 1 for found in copies.values())
    return Held(published, most, several)
