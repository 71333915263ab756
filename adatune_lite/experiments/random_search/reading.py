"""What the records of experiment 08 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from adatune_lite.experiments.cifar_search import (
    BUDGETS,
    PUBLISHED,
    TUNED,
    Budget,
    searches,
    validated,
)
from adatune_lite.report.groups import Group, Page
from adatune_lite.report.incumbent import incumbent
from adatune_lite.report.tables import by_seed
from adatune_lite.runs.record import Record

NAME = "08_random_search"
METHODS = (*PUBLISHED, *TUNED)
ORDERS = 500
"""In which the draws of all searches are put for the picture of what a number of draws is worth."""
Scale = Mapping[str, Budget]
PROFILES: dict[str, Scale] = {**BUDGETS}


@dataclass(frozen=True)
class Course:
    """A search over its time, one draw after another: what it has at each look."""

    plain: np.ndarray
    """Plain steps so far."""
    seconds: np.ndarray
    """Of training alone, without the looks."""
    shown: np.ndarray
    """Test accuracy of the incumbent, in percent; NaN before there is one."""
    spent: float
    """Plain steps of all draws, which may end after the last look."""

    @classmethod
    def of(cls, draws: Sequence[Record]) -> Course:
        """The search that made these draws in this order."""
        plain, seconds, seen, tested = [], [], [], []
        spent = before = 0.0
        for record in draws:
            steps, validation = record.series("validation_accuracy")
            done = steps / max(1, executed(record))
            plain.append(spent + done * record.cost["plain_steps"])
            seconds.append(before + done * record.cost["training_seconds"])
            seen.append(validation)
            tested.append(record.series("test_accuracy")[1])
            spent += record.cost["plain_steps"]
            before += record.cost["training_seconds"]
        shown = incumbent(np.concatenate(seen), np.concatenate(tested))
        return cls(np.concatenate(plain), np.concatenate(seconds), shown, spent)

    @property
    def final(self) -> float | None:
        """The incumbent's test accuracy at the end; None where every draw diverged before its first look."""
        return float(self.shown[-1]) if len(self.shown) and math.isfinite(self.shown[-1]) else None

    def reaches(self, accuracy: float) -> float | None:
        """Plain steps at which the incumbent first has that test accuracy; None: it never has."""
        there = np.flatnonzero(self.shown >= accuracy)
        return float(self.plain[there[0]]) if len(there) else None

    def at(self, times: np.ndarray, axis: str) -> np.ndarray:
        """The incumbent at some times of an axis, "plain" or "seconds"; NaN before the first look."""
        place = np.searchsorted(getattr(self, axis), times, side="right") - 1
        return np.where(place < 0, np.nan, np.append(self.shown, np.nan)[place])


def executed(record: Record) -> int:
    """Steps that a run really made."""
    steps = record.series("lr")[0]
    return int(steps[-1]) + 1 if len(steps) else 0


def best_look(record: Record) -> float | None:
    """Test accuracy at the best validation accuracy of a run; None without a look."""
    return Course.of([record]).final


class Results(Page[Scale]):
    """Records of one profile, by the keys of `cifar_search.searches`."""

    name = NAME
    profiles = PROFILES

    @staticmethod
    def declare(scale: Scale, page: Any) -> Iterator[Group]:
        return searches(scale)

    @cached_property
    def every_course(self) -> dict[tuple[str, str], dict[int, Course]]:
        """The searches that have all their draws, by task and method, and by their seed."""
        found: dict[tuple[str, str], dict[int, Course]] = {}
        for task, budget in self.scale.items():
            for method in METHODS:
                whole = found[task, method] = {}
                for search, group in self.under("search", task, method).items():
                    draws = self[group.key]
                    if draws and len(draws) == len(group.specs):
                        whole[budget.seed(search)] = Course.of(draws)
        return found

    @cached_property
    def _finals(self) -> dict[str, float]:
        return {
            record.spec.hash: course.final
            for (task, method), found in self.every_course.items()
            for record in self["search", task, method]
            if (course := found.get(record.spec.seed)) and course.final is not None
        }

    def final(self, record: Record) -> float | None:
        """The incumbent's test accuracy at the end of the search that a run belongs to."""
        return self._finals.get(record.spec.hash)

    def finals(self, task: str, method: str) -> dict[int, float]:
        """The same by the seed of the search."""
        return by_seed(self["search", task, method], self.final)


def of_n_draws(draws: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Plain steps and test accuracy of the incumbent after 1, 2, 3 ... draws: means over orders at random.

    Orders in which the first draws have no incumbent are left out there.
    """
    cost = np.array([record.cost["plain_steps"] for record in draws])
    seen = np.array([validated(record) for record in draws])
    shown = np.array([found if (found := best_look(r)) is not None else np.nan for r in draws])
    random = np.random.default_rng(0)
    orders = [random.permutation(len(draws)) for _ in range(ORDERS)]
    table = np.array([incumbent(seen[order], shown[order]) for order in orders])
    spent = np.array([np.cumsum(cost[order]) for order in orders])
    there = np.isfinite(table)
    means = np.where(there, table, 0.0).sum(0) / np.maximum(there.sum(0), 1)
    return spent.mean(0), np.where(there.any(0), means, np.nan)
