"""How large each profile of experiment 01 is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adatune_lite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Scale:
    """How large a profile is."""

    task: TaskSpec
    steps: int
    draws: int
    """Random draws of every method."""
    mu_draws: int
    """Draws (the first ones) for each fixed mu; the two ends are judged on as many."""
    tuning_seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    outer_steps: int
    long_outer_steps: int
    """Outer steps of one longer LRS-OPT run on the first reporting seed; 0 leaves it out."""
    variant_outer_steps: int
    """Outer steps of LRS-OPT in the sensitivity runs."""
    pair_seeds: int
    """Reporting seeds of the warm start and of the sensitivity runs."""
    map_hyper_lrs: tuple[float, ...]
    checkpoints: int = 0
    """States that LRS-OPT keeps; 0 stores all."""
    further_seeds: tuple[int, ...] = ()
    """Seeds on which LRS-OPT, its start and the online methods run once more, for the registered claims."""


_MNIST = TaskSpec("mnist", train=7000, validation=700, test=10_000)
_EMBEDDED = TaskSpec("mnist5k", train=4000, validation=500, test=500)
_SMOKE, _QUICK = replace(_EMBEDDED, hidden=(16, 16)), replace(_EMBEDDED, hidden=(100, 100))
_HALF_DECADES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-12, -2))
_TUNING = (100, 101, 102)
_FIRST, _FURTHER = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)

PROFILES: dict[str, Scale] = {
    "smoke": Scale(_SMOKE, 16, 2, 2, (100,), (0, 1), 3, 0, 3, 1, (1e-4, 1e-2), further_seeds=(2,)),
    "quick": Scale(_QUICK, 64, 4, 3, (100,), (0, 1), 8, 12, 8, 1, (1e-4, 1e-3, 1e-2)),
    "desk": Scale(_MNIST, 512, 30, 10, _TUNING, _FIRST, 60, 150, 20, 2, _HALF_DECADES, 0, _FURTHER),
    "paper": Scale(_MNIST, 512, 30, 30, _TUNING, (*_FIRST, *_FURTHER), 1000, 0, 1000, 2, _HALF_DECADES),
}
