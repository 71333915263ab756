"""What the experiments about AutoLR share: its image tasks at our scale, its optimizers and seed rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adatune_lite.report.data import DATASETS
from adatune_lite.tasks.data import CIFAR10
from adatune_lite.tasks.spec import Pairs, TaskSpec, Value, pairs
from adatune_lite.training.spec import RunSpec


@dataclass(frozen=True)
class Base:
    """An optimizer with its options and the paper's seed rate for images."""

    optimizer: str
    options: Pairs
    lr: float


OPTIMIZERS = {
    "sgd": Base("sgd", (), 0.1),
    "momentum": Base("sgd", (("momentum", 0.9),), 0.1),
    "adam": Base("adam", (), 1e-3),
}
"""AutoLR's three; it prints no momentum coefficient (0.9 here). `base` adds what a task needs."""

DECAY = 5e-4
"""On CIFAR-10: that of the ResNet-18 code which the paper names; it prints none."""

BATCH = 128
"""That of the ResNet-18 code which the paper names; it prints none."""

SMALL = TaskSpec("mnist5k", train=4000, validation=500, test=500, hidden=(32, 32), batch=50)
SMALL_CONV4 = TaskSpec("mnist5k", train=4000, validation=500, test=500, model="conv4", width=0.2, batch=50)
"""The embedded digits, for smoke and quick."""
TINY = replace(SMALL, train=1000)
"""Where smoke has many runs."""

CANARY = TaskSpec("mnist5k", train=200, validation=50, test=50, hidden=(8,), batch=25)
CANARY_CONV4 = TaskSpec("mnist5k", train=200, validation=50, test=50, model="conv4", width=0.1, batch=25)
CANARY_RESNET18 = replace(
    CANARY_CONV4, train=60, batch=10, model="resnet18", width=0.03, scaling="standard", augment="crop_flip"
)
"""Of the canaries."""

MLP = TaskSpec("mnist", train=10_000, validation=2000, test=10_000, batch=BATCH)
FASHION_MLP = replace(MLP, dataset="fashion_mnist")
CONV4 = replace(MLP, model="conv4")
FASHION_CONV4 = replace(CONV4, dataset="fashion_mnist")
"""The 4-layer network on 10,000 of the 60,000 images, our reduced scale of Tables 13 and 14."""

FULL_CONV4 = replace(CONV4, train=55_000, validation=5000)
FULL_FASHION = replace(FULL_CONV4, dataset="fashion_mnist")
RESNET18 = CIFAR10
"""The paper's, with a validation part that it lacks; batch, crops and flips are that code's."""
SMALL_RESNET18 = replace(RESNET18, train=10_000, validation=1000, width=0.125)
"""Our reduced scale of Table 4: an eighth of the channels, 10,000 of the 50,000 images."""

_NETWORKS = {"mlp": "dense network", "conv4": "4-layer network", "resnet18": "ResNet-18", "vgg11": "VGG-11"}
NETWORKS = {model: name.removesuffix(" network") for model, name in _NETWORKS.items()}
SHORT = {"sgd": "SGD", "momentum": "momentum", "adam": "Adam"}
"""Networks and optimizers in a word."""


def place(task: TaskSpec) -> tuple[str, str]:
    """Data set and network, as the keys of groups name them: the embedded digits are MNIST's."""
    return task.dataset.removesuffix("5k"), task.model


def base(optimizer: str, task: TaskSpec) -> Base:
    """One of `OPTIMIZERS` as a task has it: with weight decay on CIFAR-10, none for the small networks.

    Adam's decay is torch's, which adds it to the gradient.
    """
    found = OPTIMIZERS[optimizer]
    if task.dataset != "cifar10":
        return found
    return replace(found, options=pairs({**dict(found.options), "weight_decay": DECAY}))


def runs(
    function: str,
    task: TaskSpec,
    method: str,
    settings: Mapping[str, Value] | Pairs,
    steps: int,
    seeds: Sequence[int],
    optimizer: str = "momentum",
    detail: str = "summary",
) -> list[RunSpec]:
    """Runs that differ in their seed, with one of `OPTIMIZERS` as the task has it.

    detail: AutoLR's decisions give its rates exactly, so that a summary of the others is enough.
    """
    start = base(optimizer, task)
    return [
        RunSpec(
            function=function,
            task=task,
            method=method,
            steps=steps,
            seed=seed,
            settings=pairs(settings),
            optimizer=start.optimizer,
            optimizer_settings=start.options,
            detail=detail,
        )
        for seed in seeds
    ]


def network(task: TaskSpec) -> str:
    """A network in words."""
    narrow = f" at width {task.width:g}" if task.width != 1 else ""
    return _NETWORKS.get(task.model, task.model) + narrow


def describe(task: TaskSpec) -> str:
    """A task in words: network, images and their parts."""
    name = network(task)
    return (
        f"{name[0].upper()}{name[1:]} on {task.train:,} images of {DATASETS[task.dataset]}, "
        f"{task.validation:,} for validation, {task.test:,} for the test"
    )
