"""Image tasks: a data set on the device, its three disjoint parts, and batches as pure functions of a seed.

Images stay uint8 on the device and become floats in [0, 1] batch by batch, so that an epoch costs no copy
from the host. Every choice (which image is in which part, the order of an epoch) is drawn from a generator
made for that choice alone, from a purpose, a seed and a counter: it does not depend on what was asked
before, so a resumed run continues with the very next batch.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import torch

from adatune_lite.runs.spec import TaskSpec
from adatune_lite.tasks.sources import DataError, ImageSet, known, load_images

__all__ = ["DataError", "ImageSet", "ImageTask", "describe", "image_task", "load_images"]

# The purposes of the generators. A number once used for a purpose keeps it: it decides the digits.
_SPLIT, _ORDER, _OUTER = 1, 2, 3
_KEPT_ORDERS = 32  # Epochs kept: enough for several seeds side by side and a sweep back over the steps.

Batch = tuple[torch.Tensor, torch.Tensor]


class ImageTask:
    """Training, validation and test images of a `TaskSpec` on one device.

    Every method returns (x, y): x of the task's dtype in [0, 1], [n, features]; y int64 [n].
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
        self.features = int(np.prod(known(spec.dataset).shape))
        self.source, self.checksum, self.verified = _identity(pools)
        self.steps_per_epoch = spec.train // spec.batch
        self._images: dict[str, torch.Tensor] = {}
        self._labels: dict[str, torch.Tensor] = {}
        for part, (pool, chosen) in parts.items():
            index = torch.from_numpy(chosen)
            self._images[part] = pools[pool].images[index].reshape(-1, self.features).to(self.device)
            self._labels[part] = pools[pool].labels[index].to(self.device)
        self._orders: OrderedDict[tuple[int, int, int, int], torch.Tensor] = OrderedDict()
        self._whole: dict[str, Batch] = {}

    def batch(self, seed: int, step: int) -> Batch:
        """The batch of a training step: the next `batch` images of the order of (seed, epoch).

        An epoch has train // batch steps; images left over are in other batches of other epochs.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._slice("train", _ORDER, seed, epoch, position, self.spec.batch)

    def order(self, seed: int, steps: int) -> torch.Tensor:
        """Places in `training()` of the images of a seed's first steps: int64 [steps, batch]."""
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
        order = self._order(purpose, seed, epoch, len(self._labels[part]))
        index = order[position * size : (position + 1) * size]
        return self._floats(self._images[part][index]), self._labels[part][index]

    def _order(self, purpose: int, seed: int, epoch: int, length: int) -> torch.Tensor:
        key = (purpose, seed, epoch, length)
        if key in self._orders:
            self._orders.move_to_end(key)
        else:
            order = np.random.default_rng([purpose, seed, epoch]).permutation(length)
            self._orders[key] = torch.from_numpy(order).to(self.device)
            if len(self._orders) > _KEPT_ORDERS:
                self._orders.popitem(last=False)
        return self._orders[key]

    def _all(self, part: str) -> Batch:
        if part not in self._whole:
            self._whole[part] = (self._floats(self._images[part]), self._labels[part])
        return self._whole[part]

    def _floats(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.to(self.dtype).div_(255)


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
