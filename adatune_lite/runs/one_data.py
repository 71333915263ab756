"""Records of one run on several copies of its data: which of them counts, and for whom.

`run` makes what the published data at hand have no record of (`AtHand`). A page asks for nothing to be made:
it takes all runs of a task from one copy of the data (`on_one_data`), so that no mean and no difference mixes
two, and changes over to the published ones when they leave no gap.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.spec import RunSpec

if TYPE_CHECKING:
    from adatune_lite.runs.freshness import WithStale
    from adatune_lite.runs.worker import Planned

    Records = Store | WithStale


class Plans(Protocol):
    """What is needed of an experiment."""

    def plan(self, profile: str, store: Any) -> list[Planned]:
        """The runs known so far, as the records of earlier ones decide."""


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


class OneData:
    """A store in which all runs of a task are on data of one checksum, where one is chosen for it."""

    def __init__(self, store: Records, chosen: Mapping[TaskSpec, str]) -> None:
        self._store = store
        self._chosen = chosen

    def get(self, spec: RunSpec) -> Record | None:
        """The record of a spec on its task's data, or None."""
        return self._store.get(spec, data=self._chosen.get(spec.task))


def on_one_data(experiment: Plans, profile: str, store: Records) -> Records | OneData:
    """The store as a page of an experiment reads it.

    A task with records on several copies of its data is read from the published ones once every planned run
    that has a record has one there and no more runs are missing than otherwise; until then from the copy with
    most records. A later stage is planned from the same data.
    """
    published: dict[TaskSpec, str] = {}
    copies: dict[TaskSpec, Counter[str]] = defaultdict(Counter)
    for run in experiment.plan(profile, store):
        for record in store.candidates(run.spec.hash):
            if record.verified:
                published[run.spec.task] = record.data_checksum
            else:
                copies[run.spec.task][record.data_checksum] += 1
    before = {task: max(sorted(found), key=found.__getitem__) for task, found in copies.items()}
    disputed = before.keys() & published.keys()
    if not disputed and all(len(found) == 1 for found in copies.values()):
        return store
    old, new = OneData(store, before), OneData(store, before | published)
    missing_old, missing_new = (_missing(experiment, profile, view) for view in (old, new))
    gapless = {
        task
        for task in disputed
        if len(missing_new[task]) <= len(missing_old[task]) and not any(map(old.get, missing_new[task]))
    }
    return OneData(store, before | {task: published[task] for task in gapless})


def _missing(experiment: Plans, profile: str, view: OneData) -> dict[TaskSpec, list[RunSpec]]:
    """The planned runs without a record, by task."""
    missing: dict[TaskSpec, list[RunSpec]] = defaultdict(list)
    for run in experiment.plan(profile, view):
        if view.get(run.spec) is None:
            missing[run.spec.task].append(run.spec)
    return missing
