"""What the canaries of AutoLR's experiments share: one small run, and the settings of AutoLR in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from adatune_lite.experiments.autolr_tasks import (
    CANARY,
    CANARY_CONV4,
    CANARY_RESNET18,
    OPTIMIZERS,
    RESNET18,
    Base,
    base,
)
from adatune_lite.runs.canary import reaching
from adatune_lite.tasks.spec import Value, pairs
from adatune_lite.training.spec import RunSpec

AUTOLR: dict[str, Value] = {
    "explore_steps": 4,
    "window": 2,
    "superbatch": 2,
    "saturation": 2.0,
    "epsilon_threshold": 1e-3,
}


def small(function: str, base: Base, settings: Mapping[str, Value], method: str = "constant") -> RunSpec:
    """Two epochs of 8 steps, at the seed rate where the settings have none."""
    return RunSpec(
        function=function,
        task=CANARY,
        method=method,
        steps=16,
        seed=0,
        settings=pairs({"lr": base.lr, **settings}),
        optimizer=base.optimizer,
        optimizer_settings=base.options,
        precision="float64",
        detail="summary",
    )


def on_networks(
    function: str,
    settings: Mapping[str, Value],
    *,
    resnet18: Mapping[str, Value],
    adam: Mapping[str, Value],
) -> dict[str, RunSpec]:
    """With each optimizer, on the two larger networks, over many steps, and in float32.

    resnet18, adam: settings that differ on the largest network, and for Adam on the larger ones.
    """
    found = {name: small(function, start, settings) for name, start in OPTIMIZERS.items()}
    on_resnet = partial(replace, task=CANARY_RESNET18, steps=6)
    found["4-layer network"] = replace(found["momentum"], task=CANARY_CONV4)
    decayed = small(function, base("momentum", RESNET18), {**settings, **resnet18})
    found["ResNet-18 with weight decay"] = on_resnet(decayed)
    larger = {**settings, **adam}
    found["4-layer network, adam"] = replace(small(function, OPTIMIZERS["adam"], larger), task=CANARY_CONV4)
    found["ResNet-18, adam"] = on_resnet(small(function, OPTIMIZERS["adam"], {**larger, **resnet18}))
    found["momentum, reaching"] = reaching(found["momentum"])
    found["momentum, float32"] = replace(found["momentum"], precision="float32")
    return found
