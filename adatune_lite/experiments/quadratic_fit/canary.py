"""The canary of experiment 03: every kind of run that its records have, very small."""

from __future__ import annotations

from dataclasses import replace

from adatune_lite.experiments.autolr_canary import small
from adatune_lite.experiments.autolr_tasks import CANARY_CONV4, CANARY_RESNET18, OPTIMIZERS, RESNET18, base
from adatune_lite.training.spec import RunSpec


def runs() -> dict[str, RunSpec]:
    """The small runs by name: with each optimizer, and on the two larger networks."""
    settings = {"probes": 4, "superbatch": 2}
    found = {name: small("quadratic_fit", base, settings) for name, base in OPTIMIZERS.items()}
    found["4-layer network"] = replace(found["momentum"], task=CANARY_CONV4)
    decayed = small("quadratic_fit", base("momentum", RESNET18), settings)
    found["ResNet-18 with weight decay"] = replace(decayed, task=CANARY_RESNET18, steps=6)
    return found
