"""What the records of experiment 07 say: a pure function of a store, tolerant of runs not made yet."""

from __future__ import annotations

from adatune_lite.experiments.cifar_learning_curves.groups import PROFILES, Scale, groups
from adatune_lite.experiments.cifar_published import published
from adatune_lite.report.groups import Page

NAME = "07_cifar_learning_curves"


class Results(Page[Scale]):
    """Records of one profile, by the keys of `groups`."""

    name = NAME
    profiles = PROFILES
    declare = staticmethod(groups)

    def printed_rate(self, task: str, row: str, which: str) -> float | None:
        """The highest or the last rate of a published curve over the published first rate."""
        found = published().get((task, row, "lr"))
        first = self.scale.budgets[task].setup.lr
        return (
            None if found is None else float(found[1].max() if which == "highest" else found[1][-1]) / first
        )
