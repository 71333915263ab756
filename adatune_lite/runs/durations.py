"""How long a run will take, from runs that were made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from statistics import median

from adatune_lite.runs.record import Record
from adatune_lite.runs.spec import RunSpec


class Durations:
    """Seconds of a run, learned from records: its alike first, then ever less alike runs.

    Runs of one method differ in steps and, for LRS-OPT, in outer steps: seconds are taken as proportional to
    their product. Diverged runs stopped early and teach nothing.
    """

    def __init__(self, records: Iterable[Record] = (), device: str = "cpu") -> None:
        self._pace: dict[Hashable, list[float]] = defaultdict(list)
        for record in records:
            if record.finished and record.device == device:
                self.learn(record.spec, record.cost.get("seconds", 0.0))

    def learn(self, spec: RunSpec, seconds: float) -> None:
        """Note a run that took so long."""
        for kind in _kinds(spec):
            self._pace[kind].append(seconds / _work(spec))

    def estimate(self, spec: RunSpec) -> float | None:
        """Seconds that a run will take, or None if nothing like it was ever made."""
        for kind in _kinds(spec):
            if kind in self._pace:
                return median(self._pace[kind]) * _work(spec)
        return None

    def total(self, specs: Iterable[RunSpec]) -> float | None:
        """Seconds of all of them on one process, or None if one of them is unknown."""
        seconds = [self.estimate(spec) for spec in specs]
        return None if any(s is None for s in seconds) else sum(s for s in seconds if s is not None)


def _kinds(spec: RunSpec) -> Iterator[Hashable]:
    network = (spec.task.model, spec.task.hidden, spec.task.batch, spec.precision)
    yield spec.function, spec.method, spec.optimizer, network, spec.task.validation, spec.steps
    yield spec.function, spec.method, network
    yield spec.function, network


def _work(spec: RunSpec) -> float:
    outer = dict(spec.settings).get("outer_steps", 1)
    return spec.steps * max(1.0, float(outer) if isinstance(outer, int | float) else 1.0)
