"""Which of an experiment's runs are made: by what they are for, what they train, their seeds, their shard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adatune_lite.runs.shard import Shard
from adatune_lite.runs.worker import Planned
from adatune_lite.tasks.spec import TaskSpec


class SelectionError(ValueError):
    """A selection that names nothing that is planned, or is not written as one."""


@dataclass(frozen=True)
class Selection:
    """The runs that meet all conditions; an empty one asks for nothing."""

    roles: tuple[str, ...] = ()
    """What runs are for, for example "tuning"."""
    tasks: tuple[str, ...] = ()
    """Data sets, for example "mnist", or one with a network, "mnist/conv4"."""
    seeds: frozenset[int] = frozenset()
    shard: Shard | None = None
    """What depends on records of another shard is not planned before those are merged."""

    def holds(self, run: Planned) -> bool:
        """Whether the run is selected."""
        return (
            (not self.roles or run.role in self.roles)
            and (not self.tasks or not _names(run.spec.task).isdisjoint(self.tasks))
            and (not self.seeds or run.spec.seed in self.seeds)
            and (self.shard is None or self.shard.holds(run.spec))
        )

    def check(self, planned: Iterable[Planned]) -> None:
        """Refuse what no planned run has: a mistyped word would select nothing, in silence.

        Raises:
            SelectionError: it names what there is.
        """
        runs = list(planned)
        tasks = {run.spec.task for run in runs}
        there: Mapping[str, tuple[Iterable[str | int], set[str | int]]] = {
            "role": (self.roles, {run.role for run in runs}),
            "task": (self.tasks, {name for task in tasks for name in _names(task)}),
            "seed": (sorted(self.seeds), {run.spec.seed for run in runs}),
        }
        for kind, (wanted, known) in there.items():
            for name in wanted:
                if name not in known:
                    listed = ", ".join(map(str, sorted(known)))
                    raise SelectionError(
                        f"no run of the {kind} {name!r} is planned so far; there are {listed or 'none'}"
                    )


def parse_seeds(text: str) -> frozenset[int]:
    """Seeds written 0,1,2 or 5-9, or both.

    Raises:
        SelectionError: it is not of that form, or a range runs backwards.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise SelectionError(f"{text!r} are no seeds: write 0,1,2 or 5-9")
        if last - first >= 10_000:
            raise SelectionError(f"{part!r} are {last - first + 1:,} seeds: write a range of at most 10,000")
        found.update(range(first, last + 1))
    return frozenset(found)


def _names(task: TaskSpec) -> set[str]:
    return {task.dataset, f"{task.dataset}/{task.model}"}
