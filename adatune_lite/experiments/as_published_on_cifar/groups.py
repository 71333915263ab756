"""The runs of experiment 09, by what they are for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from adatune_lite.experiments.cifar import CIFAR10_SGDM, DESK10, Setup, digits
from adatune_lite.report.groups import Group, Page, Role
from adatune_lite.tasks.spec import Value
from adatune_lite.training.derivatives import OUTER_ON_ALL_TEST, PUBLISHED
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners.as_published import STEP, TANGENT

MU = 0.99
"""The middle, by logarithm, of the card's range: 1 - mu from 0.001 to 0.1."""
HYPER_LR, MIDDLE = 1e-5, 3.16e-5
"""Of all arms, and the middle of the card's range from 1e-6 to 1e-3, at which the published code diverges."""
LAST_OVER_FIRST = 0.1366
"""Of the published exponential decay, 0.9901 an epoch over 200 epochs, whatever the number of epochs here."""

STATISTICS = ("outer_statistics",)
CODE = (*TANGENT, *(fault for fault in STEP if fault not in STATISTICS), "first_unclipped")
"""What the code computes otherwise than the definition, for SGD with momentum and a fixed mu."""
TEST = (OUTER_ON_ALL_TEST,)
INGREDIENTS: dict[str, tuple[str, ...]] = {"test": TEST, "statistics": STATISTICS, "code": CODE}
"""What is switched on alone."""
PUBLISHED_FAULTS = (*CODE, *STATISTICS, *TEST)
NAMES = {
    "clean": "clean MARTHE",
    "test": "outer gradient on the test images",
    "statistics": "BatchNorm takes up outer batches",
    "code": "the code's recursion",
    "published": "MARTHE as published: all three",
    "exponential": "exponential decay (baseline)",
}
"""The arms, and how they are called in figures and tables."""


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    setup: Setup
    """Its looks are the epochs, at all test images."""
    seeds: tuple[int, ...]

    @property
    def epochs(self) -> int:
        """Of every run."""
        return self.setup.looks


def _scale(setup: Setup, epochs: int, seeds: int) -> Scale:
    return Scale(replace(setup, looks=epochs, test_images=setup.task.test), tuple(range(seeds)))


PROFILES: dict[str, Scale] = {
    "smoke": _scale(digits(CIFAR10_SGDM, 0.05, train=192, held_out=200, batch=32), 2, 2),
    "quick": _scale(digits(CIFAR10_SGDM, 0.05, train=448, held_out=200, batch=32), 3, 2),
    "desk": _scale(DESK10, 15, 5),
    "paper": _scale(CIFAR10_SGDM, 200, 5),
}

BOTH = Role("both", 100, "the clean protocol and the published one")
BASELINE = Role("baseline", 90, "the published exponential decay, read in both ways")
ALONE = Role("alone", 80, "the clean protocol with one ingredient of the published one")
AT_MIDDLE = Role("middle", 70, "the published code at the middle of the card's hyper-rates")
MIDDLE_SEEDS = 3
_ROLES = {"clean": BOTH, "published": BOTH, "exponential": BASELINE}


def groups(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
    """All groups, in the order of the plan."""
    for name, title in NAMES.items():
        yield Group(("arm", name), title, _ROLES.get(name, ALONE), arm(scale, name))
    specs = arm(scale, "published", MIDDLE)[:MIDDLE_SEEDS]
    yield Group(("middle",), f"as published, hyper-learning rate {MIDDLE:g}", AT_MIDDLE, specs)


def arm(scale: Scale, name: str, hyper_lr: float = HYPER_LR) -> list[RunSpec]:
    """The runs of one of `NAMES`, by seed."""
    setup = scale.setup
    method, settings = "marthe", dict[str, Value](lr=setup.lr, mu=MU, hyper_lr=hyper_lr)
    function = "training"
    if name == "exponential":
        method, settings = name, {"lr": setup.lr, "final": LAST_OVER_FIRST}
    elif name != "clean":
        function, method = "published", PUBLISHED
        settings["faults"] = ",".join(PUBLISHED_FAULTS if name == "published" else INGREDIENTS[name])
    return setup.runs(method, settings, scale.epochs, scale.seeds, function=function)
