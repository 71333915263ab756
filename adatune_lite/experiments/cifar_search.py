"""The random searches of MARTHE's Figure 3: for 08, which shows them, and 07, which takes what they found.

Independent searches of a few draws each. A search has a seed of its own (weights and batch order, of all its
draws) and draws of its own, which are the same quantiles in every method's space: methods are compared
search by search. Spaces as published: hyper-rate log-uniform in [1e-6, 1e-3], mu in [0.9, 0.999], decay of
the exponential schedule in [0.9, 1] an epoch; the first rate is given. mu and the decay are drawn uniformly
in their logarithm, over so short a range nearly uniformly. A draw ends when validation accuracy has not risen
for some epochs; a search shows the test accuracy of the best validation accuracy so far, its incumbent.

Besides, with as many draws on CIFAR-10, three schedules whose rate is tuned. They know their horizon: they
are trained to its end, and looked at once an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adatune_lite.experiments.cifar import CIFAR10_SGDM, CIFAR100_ADAM, DESK10, DESK100, Setup, digits
from adatune_lite.report.groups import Group, Page, Role
from adatune_lite.report.search import LogUniform, Space, draws
from adatune_lite.runs.record import Record
from adatune_lite.tasks.sources import known
from adatune_lite.tasks.spec import Value
from adatune_lite.training.spec import RunSpec

FIRST_SEED = 100
"""Of the first search; the seeds of 07 are others."""
ONLINE = ("marthe", "rtho", "hd")
PUBLISHED = (*ONLINE, "exponential")
"""Searched in Figure 3."""
TUNED = ("constant", "one_cycle", "cosine")
"""Beside them: the rate is searched."""
REACH = 30.0
"""Of the rates that are searched: from a 30th of the published one to 30 times that."""
LABELS = {
    "marthe": "MARTHE",
    "rtho": "RTHO",
    "hd": "HD",
    "exponential": "exponential",
    "constant": "constant, tuned",
    "one_cycle": "one-cycle, tuned",
    "cosine": "cosine, tuned",
}
TASKS = {"cifar10": "CIFAR-10, VGG-11, SGDM", "cifar100": "CIFAR-100, ResNet-18, Adam"}


@dataclass(frozen=True)
class Budget:
    """How large the searches on one task are."""

    setup: Setup
    epochs: int
    patience: int
    """Epochs without a better validation accuracy."""
    searches: int
    """Independent ones."""
    draws: int
    """Of each search."""
    tuned_searches: int
    """Of the three schedules."""

    def seed(self, search: int) -> int:
        """Of a search, 0, 1, 2 ..."""
        return FIRST_SEED + search


_SMOKE = [digits(setup, 1 / 32, train=64, held_out=40, batch=16) for setup in (DESK10, DESK100)]
_QUICK = [digits(setup, 1 / 16, train=320, held_out=100, batch=64) for setup in (DESK10, DESK100)]
BUDGETS: dict[str, dict[str, Budget]] = {
    profile: dict(zip(TASKS, both, strict=True))
    for profile, both in {
        "smoke": (Budget(_SMOKE[0], 2, 1, 2, 1, 2), Budget(_SMOKE[1], 2, 1, 1, 1, 1)),
        "quick": (Budget(_QUICK[0], 2, 1, 2, 2, 2), Budget(_QUICK[1], 2, 1, 2, 1, 2)),
        "desk": (Budget(DESK10, 10, 2, 6, 4, 6), Budget(DESK100, 10, 2, 5, 2, 4)),
        "paper": (Budget(CIFAR10_SGDM, 200, 10, 6, 20, 6), Budget(CIFAR100_ADAM, 200, 10, 6, 20, 6)),
    }.items()
}


MOST_SEARCHES = max(budget.searches for both in BUDGETS.values() for budget in both.values())


def space(budget: Budget, method: str) -> Space:
    """What is searched for a method."""
    if method in TUNED:
        return {"lr": LogUniform(budget.setup.lr / REACH, budget.setup.lr * REACH)}
    if method == "exponential":
        return {"final": LogUniform(0.9**budget.epochs, 1.0)}
    rate = {"hyper_lr": LogUniform(1e-6, 1e-3)}
    return {**rate, "mu": LogUniform(0.9, 0.999)} if method == "marthe" else rate


def _by_search(first: float) -> Any:
    """Priority of a run: a search of all methods before the next one."""
    return lambda spec: first - 0.1 * (spec.seed - FIRST_SEED)


SEARCHES = {
    "cifar10": Role("search cifar10", _by_search(100), "random searches on CIFAR-10"),
    "cifar100": Role("search cifar100", _by_search(80), "random searches on CIFAR-100"),
}
TUNINGS = {
    "cifar10": Role("rates cifar10", _by_search(60), "searched rates of three schedules on CIFAR-10"),
    "cifar100": Role("rates cifar100", _by_search(55), "searched rates of three schedules on CIFAR-100"),
}


def searches(budgets: Mapping[str, Budget]) -> Iterator[Group]:
    """The draws of each search, under ("search", task, method, number of the search)."""
    for methods, roles in ((PUBLISHED, SEARCHES), (TUNED, TUNINGS)):
        for task, budget in budgets.items():
            for method in methods:
                for search in range(
                    max(b.searches for profile in BUDGETS.values() for b in profile.values())
                ):
                    specs = _draws(budget, method, search)
                    yield Group(("search", task, method, search), LABELS[method], roles[task], specs)


def _draws(budget: Budget, method: str, search: int) -> list[RunSpec]:
    """Of one search, none beyond those of the budget."""
    if search >= (budget.tuned_searches if method in TUNED else budget.searches):
        return []
    looks, fixed = min(budget.setup.looks, budget.epochs), dict[str, Value]()
    if method not in TUNED:
        looks = budget.setup.looks
        fixed = {"lr": budget.setup.lr, "stop_after": budget.patience * budget.setup.epoch}
    drawn = draws(space(budget, method), fixed, budget.draws * (search + 1))[budget.draws * search :]
    return [
        spec
        for settings in drawn
        for spec in budget.setup.runs(
            method, settings, budget.epochs, [budget.seed(search)], detail="summary", observations=looks
        )
    ]


def validated(record: Record) -> float:
    """The best validation accuracy of a run, in percent; -inf where it diverged before the first look."""
    return float(record.series("validation_accuracy")[1].max(initial=-math.inf))


def lost(record: Record) -> bool:
    """Whether a run diverged, or ended with a loss that is not below that of guessing."""
    guessing = math.log(known(record.spec.task.dataset).classes)
    return not record.finished or record.metrics["validation_loss"] >= guessing


def found(page: Page[Any], task: str, method: str) -> Record | None:
    """The draw whose settings the searches found best; None until all draws of the method have their records.

    That with the best validation accuracy at any look, as in the incumbents; one that is not lost, if any.
    """
    groups = page.under("search", task, method).values()
    records = page["search", task, method]
    if not records or len(records) < sum(len(group.specs) for group in groups):
        return None
    return max(records, key=lambda record: (not lost(record), validated(record)))
