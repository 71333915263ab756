"""ResNet-50 on a folder of images: 8 tiny ones in two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import adatune_lite as al
from adatune_lite.tasks.folder import FolderTask
from adatune_lite.tasks.sources import DataError
from adatune_lite.training.loop import evaluate, mean_loss

pytest.importorskip("torchvision")
SIZE = 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Dark cats and light dogs, of several sizes; 8 in train, 3 in val."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for name, base in (("cat", 30), ("dog", 180)):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for k in range(count - (part == "val" and name == "dog")):
                pixels = rng.integers(base, base + 40, (70 + 9 * k, 90, 3), np.uint8)
                image.fromarray(pixels).save(folder / f"{k}.png")
    return tmp_path


def task(root: Path, **changes: object) -> FolderTask:
    return FolderTask(root, **{"batch": 3, "validation": 2, "size": SIZE, **changes})  # type: ignore[arg-type]


def test_batches_are_functions_of_seed_and_step(root: Path) -> None:
    one, other = task(root), task(root)
    assert (one.classes, one.steps_per_epoch) == (2, 2)
    first = [one.batch(0, step) for step in range(3)]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    for step in (2, 0, 1):
        x, y = other.batch(0, step)
        assert x.shape == (3, 3, SIZE, SIZE) and x.dtype == torch.float32 and y.dtype == torch.int64
        assert torch.equal(x, first[step][0]) and torch.equal(y, first[step][1])
        # ImageNet's scaling puts the dark images below zero and the light ones above it.
        assert ((x.mean((1, 2, 3)) > 0) == (y == 1)).all()
    assert torch.equal(torch.get_rng_state(), state), "the global random state is left alone"
    assert not torch.equal(one.batch(1, 0)[0], first[0][0])
    for (x, _), (z, _) in zip(one.superbatch(4, 2), other.superbatch(4, 2), strict=True):
        assert torch.equal(x, z)
    with pytest.raises(DataError, match="1 to 2 batches, not 3"):
        one.superbatch(0, 3)


def test_parts_are_disjoint_and_their_images_fixed(root: Path) -> None:
    found = task(root, split_seed=1)
    assert not set(found._chosen) & set(found._held) and len(found._chosen) + len(found._held) == 8
    x, _ = found.validation()
    assert x.shape == (2, 3, SIZE, SIZE) and torch.equal(x, task(root, split_seed=1).validation()[0])
    assert torch.cat([y for _, y in found.test()]).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": 6}, "has 8 images, too few for 6 of validation and a batch of 3"),
        ({"validation": 0}, "too few for 0 of validation"),
    ],
)
def test_too_few_images_are_refused(root: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        task(root, **changes)


def test_wrong_folders_are_refused(root: Path) -> None:
    (root / "val" / "dog").rename(root / "val" / "wolf")
    with pytest.raises(DataError, match="train and val have other classes"):
        task(root)
    with pytest.raises(DataError, match="holds no images: put a folder of them for each class"):
        task(root / "nowhere")


@pytest.mark.slow
def test_a_step_of_autolr_on_resnet50(root: Path) -> None:
    data = task(root)
    net = al.tasks.models.build("resnet50_imagenet", seed=0, classes=data.classes)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    tuner = al.AutoLR(optimizer, explore_steps=1, window=1, samples=3, superbatch=1)

    def outer(k: int) -> Tensor:
        return torch.stack([mean_loss(net, batch) for batch in data.superbatch(k, 1)]).mean()

    before = [p.detach().clone() for p in net.parameters()]
    batch = data.batch(0, 0)
    loss = tuner.step(lambda: mean_loss(net, batch), outer)
    assert loss.isfinite() and len(tuner.log) == 1 and tuner.lr >= 0.01
    assert any(not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    assert all(np.isfinite(evaluate(net, data.validation())))
