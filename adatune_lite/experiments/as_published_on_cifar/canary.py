"""The canary of experiment 09: every kind of run that its records have, very small."""

from __future__ import annotations

from dataclasses import replace

from adatune_lite.experiments.as_published_on_cifar.groups import NAMES, Scale, arm
from adatune_lite.experiments.cifar import CIFAR10_SGDM, digits
from adatune_lite.runs.canary import reaching
from adatune_lite.tasks.spec import pairs
from adatune_lite.training.spec import RunSpec

SETUP = replace(digits(CIFAR10_SGDM, 0.03, train=60, held_out=20, batch=10), looks=2, test_images=20)
MOVES = {"hyper_lr": 1e-3}
"""So that the rate moves in a few steps."""


def runs() -> dict[str, RunSpec]:
    """The small runs by name: two epochs of 6 steps."""
    small = {name: _small(arm(Scale(SETUP, (0,)), name)[0]) for name in NAMES}
    both = {name: small[name] for name in ("clean", "published")}
    return {
        **small,
        **{f"{name}, reaching": reaching(spec, hyper_lr=1e-5) for name, spec in both.items()},
        **{f"{name}, float32": replace(spec, precision="float32") for name, spec in both.items()},
    }


def _small(spec: RunSpec) -> RunSpec:
    moves = MOVES if spec.method != "exponential" else {}
    return replace(spec, precision="float64", settings=pairs({**dict(spec.settings), **moves}))
