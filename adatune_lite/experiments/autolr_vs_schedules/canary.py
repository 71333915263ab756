"""The canary of experiment 06: every kind of run that its records have, very small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from adatune_lite.experiments.autolr_canary import AUTOLR, small
from adatune_lite.experiments.autolr_tasks import CANARY_CONV4, CANARY_RESNET18, OPTIMIZERS, RESNET18, base
from adatune_lite.experiments.autolr_vs_schedules.groups import EVALUATION, OPEN, RANGE, SAFEGUARDS, TUNED
from adatune_lite.experiments.autolr_vs_schedules.scale import MAIN
from adatune_lite.tasks.spec import Value, pairs
from adatune_lite.training.spec import RunSpec

ACTING = {**AUTOLR, "saturation": 1.0, "epsilon_threshold": 3e-6, "lr": 0.5}
"""Settings with which every safeguard of AutoLR has something to do in so small a run."""
ACTS = "autolr where all safeguards act"


def _run(method: str, settings: Mapping[str, Value], optimizer: str = MAIN) -> RunSpec:
    return small("generalisation", OPTIMIZERS[optimizer], settings, method)


def runs() -> dict[str, RunSpec]:
    """The small runs by name: two epochs of 8 steps, or one of 6."""
    found = {m: _run(m, {**settings, **(AUTOLR if m == "autolr" else {})}) for m, settings in TUNED.items()}
    found["plateau"] = _run("plateau", {"patience": 1})
    found["plateau that acts"] = _run("plateau", {"every": 2, "patience": 0, "threshold": 0.9})
    found[ACTS] = _run("autolr", ACTING)
    for name, off in SAFEGUARDS.items():
        found[f"autolr without {name}"] = _run("autolr", {**ACTING, **off})
    for name, changed in OPEN.items():
        # reach and spread matter where the trust bound is wide
        settings = ACTING if "otherwise" in changed else AUTOLR
        found[f"autolr, {name}"] = _run("autolr", {**settings, **changed})
    for optimizer in OPTIMIZERS:
        found[f"constant, {optimizer}"] = _run("constant", {}, optimizer)
        found[f"autolr, {optimizer}"] = _run("autolr", AUTOLR, optimizer)
    on_resnet = partial(replace, task=CANARY_RESNET18, steps=6)
    found["autolr on the 4-layer network"] = replace(found["autolr"], task=CANARY_CONV4)
    found["autolr on ResNet-18"] = on_resnet(found["autolr"])
    for optimizer in OPTIMIZERS:
        options = base(optimizer, RESNET18).options
        name = f"autolr on ResNet-18 with weight decay, {optimizer}"
        found[name] = on_resnet(found[f"autolr, {optimizer}"], optimizer_settings=options)
    inside = pairs({**AUTOLR, "lr": base(MAIN, RESNET18).lr, "otherwise": "evaluation mode"})
    found[f"autolr on ResNet-18, {EVALUATION}"] = on_resnet(found["autolr"], settings=inside)
    tested: dict[str, Any] = {"function": "lr_range", "method": "lr_range", "steps": 20, "detail": "full"}
    found["range test"] = replace(found["constant"], settings=pairs(RANGE), **tested)
    return found
