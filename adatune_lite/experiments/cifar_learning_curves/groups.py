"""The runs of experiment 07: the searches of 08, and trainings with what they found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from adatune_lite.experiments.cifar_search import BUDGETS, ONLINE, TUNED, Budget, found, searches
from adatune_lite.report.groups import Group, Page, Role
from adatune_lite.schedules import ADATUNE
from adatune_lite.tasks.spec import Pairs, Value

Seeds = tuple[int, ...]


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    budgets: Mapping[str, Budget]
    """Of the searches by task; a training is of the same images and network."""
    epochs: Mapping[str, int]
    """Of a training, by task."""
    seeds: Seeds
    detail: str = "full"
    """Of the rates of online methods."""


PROFILES: dict[str, Scale] = {
    "smoke": Scale(BUDGETS["smoke"], {"cifar10": 2, "cifar100": 2}, (0, 1)),
    "quick": Scale(BUDGETS["quick"], {"cifar10": 3, "cifar100": 3}, (0, 1)),
    "desk": Scale(BUDGETS["desk"], {"cifar10": 20, "cifar100": 15}, (0, 1, 2, 3, 4)),
    "paper": Scale(BUDGETS["paper"], {"cifar10": 200, "cifar100": 200}, (0, 1, 2, 3, 4), "summary"),
}

ADAPTIVE = "marthe_adaptive"
SEARCHED = "exponential_searched"
LABELS = {
    "marthe": "MARTHE",
    ADAPTIVE: "MARTHE, adaptive μ",
    "rtho": "RTHO",
    "hd": "HD (training gradient)",
    "exponential": "exponential",
    "staircase": "staircase",
    "sgdr": "SGDR",
    SEARCHED: "exponential, searched",
    "constant": "constant, tuned",
    "one_cycle": "one-cycle, tuned",
    "cosine": "cosine, tuned",
}
"""The rows, and how figures and tables call them."""
BESIDE = (SEARCHED, *TUNED)
"""What the paper's figures do not have."""

CURVES = {
    "cifar10": Role("curves cifar10", 90, "the published methods on CIFAR-10"),
    "cifar100": Role("curves cifar100", 70, "the published methods on CIFAR-100"),
}
BESIDES = {
    "cifar10": Role("besides cifar10", 52, "further schedules on CIFAR-10"),
    "cifar100": Role("besides cifar100", 50, "further schedules on CIFAR-100"),
}


def groups(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """The searches, and under ("curve", task, row) the trainings, by seed."""
    yield from searches(scale.budgets)
    for task in scale.budgets:
        for row, name in LABELS.items():
            role = (CURVES if row not in TUNED else BESIDES)[task]
            how = _how(scale, page, task, row)
            specs = []
            if how is not None:
                method, settings = how
                detail = scale.detail if row in (*ONLINE, ADAPTIVE) else "summary"
                setup = scale.budgets[task].setup
                specs = setup.runs(method, settings, scale.epochs[task], scale.seeds, detail=detail)
            yield Group(("curve", task, row), name, role, specs)


def _how(scale: Scale, page: Page[Scale], task: str, row: str) -> tuple[str, Pairs] | None:
    """Method and settings of a row; None while the search that it takes them from is not complete."""
    budget = scale.budgets[task]
    first: dict[str, Value] = {"lr": budget.setup.lr}
    if row in ADATUNE:
        method, options = ADATUNE[row]
        return method, tuple({**first, **options}.items())
    best = found(page, task, {ADAPTIVE: "marthe", SEARCHED: "exponential"}.get(row, row))
    if best is None:
        return None
    own = {name: value for name, value in best.spec.settings if name != "stop_after"}
    if row == ADAPTIVE:
        own["mu"] = "adaptive"
    elif row == SEARCHED:
        # The decay of an epoch is what was found; rounded so that every machine has the same digits.
        own["final"] = float(f"{float(own['final']) ** (scale.epochs[task] / budget.epochs):.6g}")
    return best.spec.method, tuple(own.items())
