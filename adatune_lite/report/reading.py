"""What the plans and readings of all experiments share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Generic, TypeVar

from adatune_lite.report.search import Reader
from adatune_lite.runs.record import Record
from adatune_lite.runs.worker import Planned
from adatune_lite.training.spec import RunSpec

Scale = TypeVar("Scale")


def planned_once(
    stages: Iterable[tuple[str, Sequence[RunSpec]]],
    experiment: str,
    profile: str,
    priority: Mapping[str, float],
) -> list[Planned]:
    """The runs of all stages (role, specs), each once, for the first role that wants it.

    priority: of each role.
    """
    planned: dict[str, Planned] = {}
    for role, specs in stages:
        for spec in specs:
            planned.setdefault(spec.hash, Planned(spec, experiment, profile, role, priority[role]))
    return list(planned.values())


class Reading(Generic[Scale]):
    """The records of one profile of an experiment; what they are for, an experiment's own Results says.

    experiment: its package, for its PROFILES and `plan`.
    """

    def __init__(self, experiment: ModuleType, profile: str, store: Reader) -> None:
        self.experiment = experiment
        self.profile = profile
        self.scale: Scale = experiment.PROFILES[profile]
        self.store = store

    @cached_property
    def planned(self) -> list[Planned]:
        """All runs that are known so far."""
        found: list[Planned] = self.experiment.plan(self.profile, self.store)
        return found

    def records(self, specs: Iterable[RunSpec]) -> list[Record]:
        """The records that are there, in the order of the specs."""
        return [r for r in map(self.store.get, specs) if r is not None]

    def all_records(self, *roles: str) -> list[Record]:
        """Every record of this profile that is there; of these roles alone if any are named."""
        return self.records(p.spec for p in self.planned if not roles or p.role in roles)

    def missing_roles(self) -> dict[str, int]:
        """Runs known so far that have no record, counted by what they are for."""
        return dict(Counter(p.role for p in self.planned if self.store.get(p.spec) is None))

    def missing(self) -> int:
        """Runs known so far that have no record."""
        return sum(self.missing_roles().values())
