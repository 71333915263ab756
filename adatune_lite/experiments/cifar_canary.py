"""The canaries of the experiments on CIFAR's learning curves: every kind of run of theirs, very small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from adatune_lite.experiments.cifar import DESK10, DESK100, Setup, digits
from adatune_lite.runs.canary import reaching
from adatune_lite.schedules import ADATUNE
from adatune_lite.tasks.spec import Value
from adatune_lite.training.spec import RunSpec

_SETUPS = {
    name: digits(setup, width, train=32, held_out=24, batch=8)
    for name, setup, width in (("VGG-11", DESK10, 1 / 32), ("ResNet-18", DESK100, 1 / 32))
}
_MARTHE: dict[str, dict[str, Value]] = {
    "hd": {"hyper_lr": 1e-5},
    "rtho": {"hyper_lr": 1e-5},
    "marthe": {"hyper_lr": 1e-5, "mu": 0.9},
}
_TUNED = ("constant", "one_cycle", "cosine")


def _run(setup: Setup, method: str, settings: Mapping[str, Value], epochs: int = 3) -> RunSpec:
    """Epochs of 4 steps from a tenth of the published rate: the digits' batches are small."""
    first = {"lr": setup.lr / 10}
    (spec,) = setup.runs(method, {**first, **settings}, epochs, [0], precision="float64", detail="summary")
    return spec


def searched() -> dict[str, RunSpec]:
    """Those of the searches: with early stopping, and schedules with a searched rate without."""
    found = {}
    published: dict[str, dict[str, Value]] = {**_MARTHE, "exponential": {"final": 0.5}}
    for name, setup in _SETUPS.items():
        for method, settings in published.items():
            patient = {**settings, "stop_after": 8}
            found[f"{method}, {name}, stopped early"] = _run(setup, method, patient, epochs=4)
        found |= {f"{method}, {name}": _run(setup, method, {}) for method in _TUNED}
    marthe = found["marthe, VGG-11, stopped early"]
    return {
        **found,
        "marthe, reaching": reaching(marthe, stop_after=16),
        "marthe, float32": replace(marthe, precision="float32"),
        "constant, reaching": reaching(found["constant, VGG-11"]),
        "constant, float32": replace(found["constant, VGG-11"], precision="float32"),
    }


def trained() -> dict[str, RunSpec]:
    """Those of the trainings to the end."""
    found = {}
    for name, setup in _SETUPS.items():
        for method, settings in _MARTHE.items():
            found[f"{method}, {name}"] = _run(setup, method, settings)
        found[f"marthe with adaptive mu, {name}"] = _run(
            setup, "marthe", {"hyper_lr": 1e-5, "mu": "adaptive"}
        )
        for row, (method, options) in ADATUNE.items():
            found[f"{row}, {name}"] = _run(setup, method, options)
    return found
