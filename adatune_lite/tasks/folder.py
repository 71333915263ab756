"""Images of any size in a folder for each class, ImageNet's layout, decoded when a batch asks for them.

Nothing of it is in the records: no experiment here has such data. It is what `training.train` and the tuners
need to run ResNet-50 on them:

    task = FolderTask("imagenet", batch=256, validation=1000, device="cuda")
    net = models.build("resnet50_imagenet", classes=task.classes).to("cuda")
    train(net, tuner, task, seed=0, steps=task.steps_per_epoch)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adatune_lite.tasks.data import Batch
from adatune_lite.tasks.sources import DataError

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder

_SPLIT, _ORDER, _SUPERBATCH, _CROPS = 1, 2, 3, 4
_SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's channels, pixels from 0 to 1."""


class FolderTask:
    """ROOT/train/CLASS/* for training and validation, ROOT/val/CLASS/* for the test.

    batch: images of a step. validation: images held out of ROOT/train. size: pixels a side.

    Training images: a random crop of 8 to 100 % of the area, resized, and a random flip, both functions of
    (seed, step). Others: the shorter side resized to size * 8 / 7, and the centre. Every method returns
    (x, y): x [n, 3, size, size] of dtype, scaled by ImageNet's mean and deviation; y int64 [n].

    Raises:
        DataError: a folder is missing or empty, the two have other classes, or there are too few images.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        batch: int,
        validation: int,
        size: int = 224,
        split_seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        from torchvision import transforms

        self.size, self.device, self.dtype = size, torch.device(device), dtype
        self._train, self._test = (_folder(Path(root) / part) for part in ("train", "val"))
        if self._train.classes != self._test.classes:
            raise DataError(f"{root}: train and val have other classes: give both the same folders")
        self.classes = len(self._train.classes)
        order = np.random.default_rng([_SPLIT, split_seed]).permutation(len(self._train))
        self._chosen, self._held = order[validation:], order[:validation]
        if not 1 <= batch <= len(self._chosen) or validation < 1:
            raise DataError(
                f"{root}/train has {len(self._train)} images, "
                f"too few for {validation} of validation and a batch of {batch}"
            )
        self.batch_size, self.steps_per_epoch = batch, len(self._chosen) // batch
        self._augmented = transforms.Compose(
            [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
        )
        self._centred = transforms.Compose([transforms.Resize(size * 8 // 7), transforms.CenterCrop(size)])
        self._validation: Batch | None = None

    def batch(self, seed: int, step: int) -> Batch:
        """The batch of a training step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._drawn(_ORDER, seed, epoch, position)

    def superbatch(self, k: int, batches: int, seed: int = 0) -> Iterator[Batch]:
        """The mini-batches of superbatch k of AutoLR: the same (k, seed), the same data.

        Raises:
            DataError: more batches than an epoch has.
        """
        if not 1 <= batches <= self.steps_per_epoch:
            raise DataError(f"a superbatch has 1 to {self.steps_per_epoch} batches, not {batches}")
        return (self._drawn(_SUPERBATCH, seed, k, position) for position in range(batches))

    def validation(self) -> Batch:
        """All images held out of training."""
        if self._validation is None:
            self._validation = self._decoded(self._train, self._held, self._centred)
        return self._validation

    def test(self) -> Iterator[Batch]:
        """All images of ROOT/val, batch by batch."""
        for index in np.array_split(np.arange(len(self._test)), -(-len(self._test) // self.batch_size)):
            yield self._decoded(self._test, index, self._centred)

    def _drawn(self, purpose: int, seed: int, epoch: int, position: int) -> Batch:
        order = np.random.default_rng([purpose, seed, epoch]).permutation(self._chosen)
        index = order[position * self.batch_size : (position + 1) * self.batch_size]
        crops = np.random.SeedSequence([_CROPS, purpose, seed, epoch, position]).generate_state(1)[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(crops))
            return self._decoded(self._train, index, self._augmented)

    def _decoded(self, folder: ImageFolder, index: np.ndarray, shape: Callable[[Any], Any]) -> Batch:
        from torchvision.transforms.functional import pil_to_tensor

        images, labels = zip(*(folder[i] for i in index), strict=True)
        x = torch.stack([pil_to_tensor(shape(image)) for image in images]).to(self.device).to(self.dtype)
        mean, deviation = (255 * torch.tensor(s, device=x.device).to(x.dtype).view(3, 1, 1) for s in _SCALE)
        return x.sub_(mean).div_(deviation), torch.tensor(labels, device=self.device)


def _folder(path: Path) -> ImageFolder:
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} holds no images: put a folder of them for each class into it") from error
