"""Our training loop against a bare one: ResNet-18 as for CIFAR-10, batch 128, data included.

Three loops of the same work on the embedded digits, 32 pixels on 3 channels: shuffled batches with random
crops and flips, forward, backward, a step of SGD with momentum and weight decay, and at the end of a call one
look at the validation part, a single image, as `train` takes it. "Bare" has the scaled images in memory and
takes the crops of a batch by one indexing. "DataLoader" is what users have: images one by one, torchvision's
transforms, no workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, Dataset

import adatune_lite as al
from adatune_lite.tasks.data import Batch, ImageTask, image_task
from adatune_lite.tasks.models import build
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.loop import evaluate, train
from benchmarks.measure import Row, median_interval, ratios
from benchmarks.steps import FEW

LR = 0.01
MOST_STEPS = 10_000
SPEC = TaskSpec(
    "mnist5k_rgb32",
    train=4000,
    validation=1,
    test=1,
    model="resnet18",
    batch=128,
    scaling="standard",
    augment="crop_flip",
)
TARGET = 1.02


class Onwards:
    """A task whose batches go on from call to call of `train`, which counts its steps from 0."""

    def __init__(self, task: ImageTask) -> None:
        self.task, self.done = task, 0

    def batch(self, seed: int, step: int) -> Batch:
        self.done += 1
        return self.task.batch(seed, self.done - 1)

    def validation(self) -> Batch:
        return self.task.validation()


def start(spec: TaskSpec) -> tuple[ImageTask, nn.Module, torch.optim.Optimizer]:
    task = image_task(spec)
    net = build(spec.model, seed=0, channels=task.channels, width=spec.width)
    return task, net, torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)


def ours(spec: TaskSpec, steps: int) -> Callable[[], object]:
    """`train` at a constant rate."""
    task, net, optimizer = start(spec)
    tuner, data = al.FixedSchedule(optimizer, [LR] * MOST_STEPS), Onwards(task)
    return lambda: train(net, tuner, data, seed=0, steps=steps)


def bare(spec: TaskSpec, steps: int, batches: Iterator[Batch]) -> Callable[[], object]:
    """What a user would write, nothing of ours but the look at the end."""
    task, net, optimizer = start(spec)

    def call() -> None:
        for _ in range(steps):
            x, y = next(batches)
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            optimizer.step()
        evaluate(net, task.validation())

    return call


def tensor_batches(spec: TaskSpec) -> Iterator[Batch]:
    """Augmented batches of images that lie in memory as floats, scaled beforehand."""
    x, y = image_task(replace(spec, augment="none")).training()
    crops = pad(x, (4,) * 4).unfold(2, x.shape[2], 1).unfold(3, x.shape[3], 1)
    while True:
        for index in torch.randperm(len(y))[: len(y) // spec.batch * spec.batch].split(spec.batch):
            top, left = torch.randint(9, (2, spec.batch))
            images = crops[index, :, top, left]
            flip = torch.rand(spec.batch, 1, 1, 1) < 0.5
            yield torch.where(flip, images.flip(-1), images), y[index]


def loader_batches(spec: TaskSpec) -> Iterator[Batch]:
    """Batches of a `DataLoader` in this process, each image through torchvision's usual transforms."""
    return al.cycle(DataLoader(_Images(spec), batch_size=spec.batch, shuffle=True, drop_last=True))


class _Images(Dataset[tuple[torch.Tensor, int]]):
    """As torchvision's CIFAR10: arrays of pixels, of which each access makes a PIL image."""

    def __init__(self, spec: TaskSpec) -> None:
        from torchvision import transforms

        images, labels = image_task(replace(spec, augment="none", scaling="unit")).training()
        self.pixels = (255 * images).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()
        mean, deviation = (f(images, dim=(0, 2, 3)).tolist() for f in (torch.mean, torch.std))
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(images.shape[2], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, deviation),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[i])), self.labels[i]


def loop_rows(spec: TaskSpec, steps: int, pairs: int, judged: bool) -> list[Row]:
    """Our loop, and one with a DataLoader, over a bare one, `steps` steps in a row.

    judged: whether our loop has to meet TARGET; the DataLoader loop then has few pairs.
    """
    plain = bare(spec, steps, tensor_batches(spec))
    rows = []
    for name, work, count in (
        ("our loop", ours(spec, steps), pairs),
        ("DataLoader loop", bare(spec, steps, loader_batches(spec)), min(pairs, FEW) if judged else pairs),
    ):
        target = TARGET if judged and name == "our loop" else None
        rows.append(
            Row(
                f"{name}, ResNet-18, width {spec.width:g}",
                *median_interval(ratios(plain, work, count)),
                target,
                "bare loops",
                f"batch {spec.batch}, {steps} steps in a row, {count} pairs",
            )
        )
    return rows
