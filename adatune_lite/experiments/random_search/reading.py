"""What the records of experiment 08 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adatune_lite.experiments.cifar_search import BUDGETS, Budget, searches
from adatune_lite.report.groups import Group, Page

NAME = "08_random_search"
Scale = Mapping[str, Budget]
PROFILES: dict[str, Scale] = {**BUDGETS}


class Results(Page[Scale]):
    """Records of one profile, by the keys of `cifar_search.searches`."""

    name = NAME
    profiles = PROFILES

    @staticmethod
    def declare(scale: Scale, page: Any) -> Iterator[Group]:
        return searches(scale)
