"""What the experiments on CIFAR share: MARTHE's two tasks as published and at our scale, and their runs.

VGG-11 on CIFAR-10 with SGD and momentum, ResNet-18 on CIFAR-100 with Adam; batches of 128, weight decay
5e-4, crops and flips, entries of gradients clipped at 100 where a method takes a gradient of an outer loss
(arXiv 1910.08525, AdaTune). The codes have no validation part: here 5,000 of the 50,000 training images are
one. Adam starts at 3e-4, as all figures have it, with torch's epsilon.

Our scale: 10,000 of the 45,000 training images (78 steps an epoch), VGG-11 with a quarter of the channels,
ResNet-18 with an eighth. Validation and test images are the same at both scales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adatune_lite.tasks.data import CIFAR10_VGG11, CIFAR100
from adatune_lite.tasks.spec import Pairs, TaskSpec, Value, pairs
from adatune_lite.training.registry import method
from adatune_lite.training.spec import RunSpec

OPTIMIZERS = {"sgd": "SGD with momentum 0.9", "adam": "Adam"}
"""In words."""
CLIP = 100.0
"""Bound of the entries of gradients."""
DECAY = 5e-4
LOOKS = 40
"""How often a training looks at the validation images and at some of the test images: every 2.5 %."""
TEST_IMAGES = 2000
"""Test images of those looks, the first of the part; at the end it looks at all of them."""


@dataclass(frozen=True)
class Setup:
    """A task with the optimizer that it is trained with."""

    task: TaskSpec
    optimizer: str
    options: Pairs
    lr: float
    """The first rate of all published methods."""
    test_images: int = TEST_IMAGES
    looks: int = LOOKS

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return self.task.train // self.task.batch

    def runs(
        self,
        how: str,
        settings: Mapping[str, Value] | Pairs,
        epochs: float,
        seeds: Sequence[int],
        **changed: Any,
    ) -> list[RunSpec]:
        """Runs by seed that keep their accuracies along the training.

        how: the method; one that takes the gradient of an outer loss does so on batches as large as those of
        training, with its gradients clipped. changed: fields of the specs.
        """
        own = dict(settings)
        if method(how).outer == "gradient":
            own = {"outer_batch": self.task.batch, "clip_grad_value": CLIP, **own}
        fields: dict[str, Any] = {
            "function": "training",
            "task": self.task,
            "method": how,
            "steps": round(epochs * self.epoch),
            "settings": pairs(own),
            "optimizer": self.optimizer,
            "optimizer_settings": self.options,
            "observations": self.looks,
            "keep": ("test_accuracy", "validation_accuracy"),
            "test_images": self.test_images,
        }
        return [RunSpec(seed=seed, **{**fields, **changed}) for seed in seeds]

    def smaller(self, **changed: Any) -> Setup:
        """The same with another task of its network: changed are fields of the task."""
        return replace(self, task=replace(self.task, **changed))


CIFAR10_SGDM = Setup(CIFAR10_VGG11, "sgd", (("momentum", 0.9), ("weight_decay", DECAY)), 0.1)
"""As published."""
CIFAR100_ADAM = Setup(CIFAR100, "adam", (("weight_decay", DECAY),), 3e-4)
"""As published."""
DESK10 = CIFAR10_SGDM.smaller(train=10_000, width=0.25)
"""Our scale."""
DESK100 = CIFAR100_ADAM.smaller(train=10_000, width=0.125)
"""Our scale."""


def digits(setup: Setup, width: float, *, train: int, held_out: int, batch: int) -> Setup:
    """The same on the embedded digits with 32 pixels and 3 channels, for smoke and quick.

    held_out: images for validation, and as many for the test.
    """
    small = replace(setup, test_images=held_out // 2, looks=4)
    parts = {"train": train, "validation": held_out, "test": held_out, "batch": batch}
    return small.smaller(dataset="mnist5k_rgb32", width=width, **parts)
