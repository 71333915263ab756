"""Image tasks: a data set on the device, its three disjoint parts, and batches as pure functions of a seed.

Images stay uint8 on the device and become floats batch by batch, so that an epoch costs no copy from the
host. Every choice (which image is in which part, the order of an epoch, the crops of an epoch) is drawn from
a generator made for that choice alone, from a purpose, a seed and a counter: it does not depend on what was
asked before, so a resumed run continues with the very next batch.

Scaling of pixels p, 0 to 255: "unit" is p / 255; "standard" is (p - mean) / deviation of each channel over
the task's training images.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from adatune_lite.tasks.augment import Crops, draws
from adatune_lite.tasks.sources import DataError, ImageSet, known, load_images
from adatune_lite.tasks.spec import TaskSpec

__all__ = [
    "CIFAR10",
    "CIFAR10_VGG11",
    "CIFAR100",
    "DataError",
    "ImageSet",
    "ImageTask",
    "describe",
    "image_task",
    "load_images",
]

CIFAR10 = TaskSpec(
    "cifar10",
    train=45_000,
    validation=5_000,
    test=10_000,
    model="resnet18",
    batch=128,
    scaling="standard",
    augment="crop_flip",
)
"""CIFAR-10 on ResNet-18 as AutoLR trains it, with a validation part, which the published codes lack."""

CIFAR10_VGG11 = replace(CIFAR10, model="vgg11")
"""As MARTHE trains it, with SGD and momentum: AdaTune's VGG-11."""

CIFAR100 = replace(CIFAR10, dataset="cifar100", initial="xavier")
"""As MARTHE trains it, with Adam: AdaTune's ResNet-18."""

# The purposes of the generators. A number once used for a purpose keeps it: it decides the digits.
_SPLIT, _ORDER, _OUTER, _SUPERBATCH, _CROPS = 1, 2, 3, 4, 5
_KEPT_ORDERS = 32  # Epochs kept: enough for several seeds side by side and a sweep back over the steps.

Batch = tuple[torch.Tensor, torch.Tensor]


class ImageTask:
    """Training, validation and test images of a `TaskSpec` on one device.

    Every method returns (x, y): x of the task's dtype, scaled, [n, channels, rows, columns] or, for a network
    of fully connected layers, [n, features]; y int64 [n]. Training batches and superbatches are augmented if
    the spec says so, nothing else is.
    """

    def __init__(
        self,
        spec: TaskSpec,
        pools: dict[str, ImageSet],
        parts: dict[str, tuple[str, np.ndarray]],
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        self.spec = spec
        self.device = torch.device(device)
        self.dtype = dtype
        self.classes = known(spec.dataset).classes
        shape = known(spec.dataset).shape
        self.shape = shape if len(shape) == 3 else (1, *shape)
        """Channels, rows, columns."""
        self.channels = self.shape[0]
        self.features = math.prod(shape)
        self.source, self.checksum, self.verified = _identity(pools)
        self.steps_per_epoch = spec.train // spec.batch
        self._images: dict[str, torch.Tensor] = {}
        self._labels: dict[str, torch.Tensor] = {}
        for part, (pool, chosen) in parts.items():
            index = torch.from_numpy(chosen)
            self._images[part] = pools[pool].images[index].reshape(-1, *self.shape).to(self.device)
            self._labels[part] = pools[pool].labels[index].to(self.device)
        self._scale = _statistics(self._images["train"], dtype) if spec.scaling == "standard" else None
        self._crops = Crops(self._images["train"]) if spec.augment == "crop_flip" else None
        if self._crops:
            self._images["train"] = self._crops.images
        self._orders: OrderedDict[tuple[int, ...], torch.Tensor] = OrderedDict()
        self._whole: dict[str, Batch] = {}

    def batch(self, seed: int, step: int) -> Batch:
        """The batch of a training step: the next `batch` images of the order of (seed, epoch).

        An epoch has train // batch steps; images left over are in other batches of other epochs.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._slice("train", _ORDER, seed, epoch, position, self.spec.batch)

    def superbatch(self, k: int, batches: int, seed: int = 0) -> Iterator[Batch]:
        """The mini-batches of superbatch k of AutoLR: training images without repetition, at random.

        The same (k, seed), the same data, crops and flips included.

        Raises:
            DataError: more batches than an epoch has.
        """
        if not 1 <= batches <= self.steps_per_epoch:
            raise DataError(f"a superbatch has 1 to {self.steps_per_epoch} batches, not {batches}")
        return (
            self._slice("train", _SUPERBATCH, seed, k, position, self.spec.batch)
            for position in range(batches)
        )

    def order(self, seed: int, steps: int) -> torch.Tensor:
        """Places in `training()` of the images of a seed's first steps: int64 [steps, batch].

        Raises:
            DataError: the task augments: its batches are no images of `training()`.
        """
        if self._crops:
            raise DataError("batches with crops and flips have no places in the training images: use `batch`")
        epochs, used = math.ceil(steps / self.steps_per_epoch), self.steps_per_epoch * self.spec.batch
        orders = [self._order(_ORDER, seed, epoch, self.spec.train)[:used] for epoch in range(epochs)]
        return torch.cat(orders).reshape(-1, self.spec.batch)[:steps]

    def validation_batch(self, k: int, size: int, seed: int = 0) -> Batch:
        """The k-th of the smaller outer batches of online methods, drawn without overlap within an epoch."""
        if not 1 <= size <= self.spec.validation:
            raise DataError(f"an outer batch has 1 to {self.spec.validation} images, not {size}")
        epoch, position = divmod(k, self.spec.validation // size)
        return self._slice("validation", _OUTER, seed, epoch, position, size)

    def training(self) -> Batch:
        """All training images, in the order of the split."""
        return self._all("train")

    def validation(self) -> Batch:
        """All images of the outer loss."""
        return self._all("validation")

    def test(self) -> Batch:
        """All images of the headline figures."""
        return self._all("test")

    def _slice(self, part: str, purpose: int, seed: int, epoch: int, position: int, size: int) -> Batch:
        place = slice(position * size, (position + 1) * size)
        index = self._order(purpose, seed, epoch, len(self._labels[part]))[place]
        if part == "train" and self._crops:
            drawn = self._drawn((_CROPS, purpose, seed, epoch), lambda g: draws(g, self.spec.train))
            pixels = self._crops.take(index, drawn[:, place])
        else:
            pixels = self._images[part].index_select(0, index)  # Copies rows: far faster than [index].
        return self._floats(pixels), self._labels[part].index_select(0, index)

    def _order(self, purpose: int, seed: int, epoch: int, length: int) -> torch.Tensor:
        return self._drawn((purpose, seed, epoch), lambda g: torch.from_numpy(g.permutation(length)))

    def _drawn(
        self, key: tuple[int, ...], draw: Callable[[np.random.Generator], torch.Tensor]
    ) -> torch.Tensor:
        if key in self._orders:
            self._orders.move_to_end(key)
        else:
            self._orders[key] = draw(np.random.default_rng(key)).to(self.device)
            if len(self._orders) > _KEPT_ORDERS:
                self._orders.popitem(last=False)
        return self._orders[key]

    def _all(self, part: str) -> Batch:
        if part not in self._whole:
            self._whole[part] = (self._floats(self._images[part]), self._labels[part])
        return self._whole[part]

    def _floats(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.to(self.dtype)
        x = x.div_(255) if self._scale is None else x.sub_(self._scale[0]).div_(self._scale[1])
        return x.flatten(1) if self.spec.flat else x


def image_task(
    spec: TaskSpec, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> ImageTask:
    """Load the data of `spec` and split it as a pure function of (data set, sizes, split_seed).

    mnist: training and validation from the 60,000, test from the 10,000 (all of them, in order, if test is
    10,000). mnist5k: all three from the 5,000. Training images are taken from the front of a permutation,
    the others from its back, so that a larger training part leaves the validation and test images alone.

    Raises:
        DataError: the data are missing or wrong, or fewer than the spec asks for.
    """
    pools = _pools(spec.dataset)
    if "test" in pools:
        development, held_out = _shuffled(pools, "train", spec), _shuffled(pools, "test", spec)
        _enough(spec, "training and validation", spec.train + spec.validation, len(development))
        _enough(spec, "test", spec.test, len(held_out))
        test = np.arange(len(held_out)) if spec.test == len(held_out) else held_out[: spec.test]
        validation = development[len(development) - spec.validation :]
        parts = {
            "train": ("train", development[: spec.train]),
            "validation": ("train", validation),
            "test": ("test", test),
        }
    else:
        (pool,) = pools
        order = _shuffled(pools, pool, spec)
        _enough(spec, "training, validation and test", spec.train + spec.validation + spec.test, len(order))
        rest, test = np.split(order, [len(order) - spec.test])
        parts = {
            "train": (pool, rest[: spec.train]),
            "validation": (pool, rest[len(rest) - spec.validation :]),
            "test": (pool, test),
        }
    return ImageTask(spec, pools, parts, device, dtype)


def describe(dataset: str) -> tuple[str, str, bool]:
    """(source, checksum, verified) of a data set as this machine has it: part of every record.

    With several parts, source and checksum name each, as `python -m adatune_lite data` shows them.
    """
    return _identity(_pools(dataset))


def _pools(dataset: str) -> dict[str, ImageSet]:
    return {part: load_images(dataset, part) for part in known(dataset).parts}


def _identity(pools: dict[str, ImageSet]) -> tuple[str, str, bool]:
    source = ", ".join(dict.fromkeys(pool.source for pool in pools.values()))
    checksum = " ".join(f"{part}:{pool.checksum}" for part, pool in pools.items())
    return source, checksum, all(pool.verified for pool in pools.values())


def _shuffled(pools: dict[str, ImageSet], pool: str, spec: TaskSpec) -> np.ndarray:
    # Each pool has its own generator: the choice of test images says nothing about the training images.
    place = list(pools).index(pool)
    return np.random.default_rng([_SPLIT, spec.split_seed, place]).permutation(len(pools[pool].labels))


def _enough(spec: TaskSpec, what: str, asked: int, there: int) -> None:
    if asked > there:
        raise DataError(f"{spec.dataset} has {there:,} images for {what}, the task asks for {asked:,}")


def _statistics(images: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, [channels, 1, 1], in units of a pixel; 1 where it is 0."""
    # Counts of the 256 levels are exact on every device; sums of millions of floats are not.
    levels = torch.arange(256, dtype=torch.float64)
    moments = []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).cpu().double() / channel.numel()
        mean = share @ levels
        moments.append((mean, (share @ (levels - mean) ** 2).sqrt()))
    mean, deviation = (torch.stack(values)[:, None, None] for values in zip(*moments, strict=True))
    deviation[deviation == 0] = 1.0
    return mean.to(images.device, dtype), deviation.to(images.device, dtype)
