"""How long a run will take, from runs that were made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from statistics import median

from adatune_lite.runs.record import Record
from adatune_lite.training import registry
from adatune_lite.training.spec import RunSpec


class Durations:
    """Seconds of a run, learned from records: its alike first, then ever less alike runs.

    Seconds are taken as proportional to the work in plain training steps. Diverged runs stopped early and
    teach nothing.
    """

    def __init__(self, records: Iterable[Record] = (), device: str = "cpu") -> None:
        self._pace: dict[Hashable, list[float]] = defaultdict(list)
        for record in records:
            if record.finished and record.device == device:
                self.learn(record.spec, record.cost.get("seconds", 0.0))

    def learn(self, spec: RunSpec, seconds: float) -> None:
        """Note a run that took so long."""
        for kind in (*_kinds(spec), *_distant_kinds(spec)):
            self._pace[kind].append(seconds / _work(spec))

    def estimate(self, spec: RunSpec) -> float | None:
        """Seconds that a run will take, or None if nothing like it was ever made."""
        return self._at_pace(spec, _kinds(spec))

    def guess(self, spec: RunSpec) -> float | None:
        """As `estimate`, where nothing alike was made from other runs on the same kind of network.

        Good for a display from the first run on; too coarse to refuse a run for lack of time.
        """
        return self._at_pace(spec, (*_kinds(spec), *_distant_kinds(spec)))

    def total(self, specs: Iterable[RunSpec]) -> float | None:
        """Seconds of all of them on one process, as `guess`, or None if one of them is unknown."""
        seconds = [self.guess(spec) for spec in specs]
        return None if any(s is None for s in seconds) else sum(s for s in seconds if s is not None)

    def _at_pace(self, spec: RunSpec, kinds: Iterable[Hashable]) -> float | None:
        for kind in kinds:
            if kind in self._pace:
                return median(self._pace[kind]) * _work(spec)
        return None


def _kinds(spec: RunSpec) -> Iterator[Hashable]:
    network = (spec.task.model, spec.task.hidden, spec.task.batch, spec.precision)
    yield spec.function, spec.method, spec.optimizer, network, spec.task.validation, spec.steps
    yield spec.function, spec.method, network
    yield spec.function, network


def _distant_kinds(spec: RunSpec) -> Iterator[Hashable]:
    # Runs of different functions compare only where the work of both is known in plain steps.
    if registry.function(spec.function).counted:
        yield "any method", spec.task.model, spec.task.hidden, spec.task.batch, spec.precision
        yield "any network", spec.task.model, spec.precision


def _work(spec: RunSpec) -> float:
    """Plain training steps of a run, as `training.train` counts them: roughly, and before it is made."""
    work, cost = registry.function(spec.function).steps, registry.method(spec.method).cost
    if work is not None:
        return work(spec)
    return spec.steps * (1.0 if cost is None else cost(spec))
