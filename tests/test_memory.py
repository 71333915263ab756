"""A training needs no more memory in its last epochs than in its first."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import adatune_lite as al
from adatune_lite.tasks.data import Batch, ImageTask, image_task
from adatune_lite.tasks.models import build
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.loop import train
from adatune_lite.tuners import Tuner

EPOCH, EPOCHS = 2, 30
"""Steps of an epoch, and epochs."""
LOOKS = (40, 50, 58)
"""Steps at which memory is measured, after those in which a task fills its store of orders of epochs."""
TASK = TaskSpec(
    *("mnist5k_rgb32", 16 * EPOCH, 16, 16),
    model="vgg11",
    width=1 / 16,
    batch=16,
    scaling="standard",
    augment="crop_flip",
)
MEGABYTE = 2**20
TUNERS: dict[str, Callable[[torch.optim.Optimizer], Tuner]] = {
    "fixed": lambda o: al.FixedSchedule(o, [0.01] * EPOCH * EPOCHS),
    "marthe": lambda o: al.MARTHE(o, 0.9, 1e-6),
    "autolr": lambda o: al.AutoLR(o, explore_steps=EPOCH * EPOCHS, window=5, superbatch=EPOCH),
}


class Watched:
    """A task that measures, at some steps, what tensors and the process take, in bytes."""

    def __init__(self, task: ImageTask) -> None:
        self.task = task
        self.tensors: list[int] = []
        self.resident: list[int] = []

    def batch(self, seed: int, step: int) -> Batch:
        if step in LOOKS:
            gc.collect()
            found = [x for x in gc.get_objects() if type(x) in (torch.Tensor, nn.Parameter)]
            self.tensors.append(sum(x.numel() * x.element_size() for x in found))
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.resident.append(pages * os.sysconf("SC_PAGE_SIZE"))
        return self.task.batch(seed, step)

    def validation(self) -> Batch:
        return self.task.validation()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc of Linux")
@pytest.mark.parametrize("name", TUNERS)
def test_memory_does_not_grow_over_epochs(name: str) -> None:
    """A graph kept at each step would be more than a megabyte a step, 18 steps long."""
    task = image_task(TASK)
    watched, net = Watched(task), build("vgg11", seed=0, width=TASK.width)
    tuner = TUNERS[name](torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9))
    needs_gradient = name == "marthe"
    trace = train(
        net,
        tuner,
        watched,
        seed=0,
        steps=EPOCH * EPOCHS,
        outer=(lambda t: task.validation_batch(t, 16)) if needs_gradient else None,
        look=(lambda k: list(task.superbatch(k, EPOCH))) if name == "autolr" else None,
    )
    assert trace.status == "finished"
    assert len(watched.tensors) == len(LOOKS) and len(set(watched.tensors)) == 1
    assert max(watched.resident) - watched.resident[0] < 10 * MEGABYTE
