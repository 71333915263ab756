"""How large each profile of experiment 06 is."""

from __future__ import annotations

from dataclasses import dataclass

from adatune_lite.experiments.autolr_tasks import (
    CONV4,
    FASHION_CONV4,
    FULL_CONV4,
    FULL_FASHION,
    RESNET18,
    SMALL,
    SMALL_RESNET18,
    TINY,
)
from adatune_lite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    main: TaskSpec
    """The task of (b), (c) and (d)."""
    tasks: tuple[TaskSpec, ...]
    """Those of (a)."""
    epochs: int
    """Of the main task."""
    other_epochs: int
    """Of the others of (a); the paper has 200 for CIFAR-10 and 50 for the 4-layer network."""
    explore: float | None
    """Share of explore; None: that of Table 8 for the task."""
    window: int
    superbatch: int
    draws: int
    tuning_seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    range_steps: int
    """Rates that a range test tries."""
    range_seeds: tuple[int, ...]
    few: tuple[TaskSpec, ...] = ()
    """Further tasks of (a) and of the range test, for fewer epochs."""
    few_epochs: int = 0
    printed: bool = False
    """Whether the schedules of Table 9 run at their printed rates too."""


PROFILES: dict[str, Scale] = {
    "smoke": Scale(TINY, (TINY,), 1, 1, None, 5, 2, 1, (100,), (0,), 20, (100,)),
    "quick": Scale(SMALL, (SMALL,), 2, 2, None, 40, 4, 2, (100,), (0, 1), 80, (100,)),
    "desk": Scale(
        FASHION_CONV4,
        (FASHION_CONV4, CONV4),
        10,
        10,
        None,
        39,
        4,
        5,
        (100, 101),
        (0, 1, 2, 3, 4),
        100,
        (100, 101, 102),
        (SMALL_RESNET18,),
        7,
    ),
    "paper": Scale(
        RESNET18,
        (RESNET18, FULL_FASHION, FULL_CONV4),
        200,
        50,
        None,
        1000,
        100,
        10,
        (100, 101),
        tuple(range(7)),
        100,
        tuple(range(100, 105)),
        printed=True,
    ),
}
