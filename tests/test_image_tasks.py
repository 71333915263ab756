"""Tasks of images for convolutional networks: shapes, scaling, crops and superbatches of seeds alone."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import adatune_lite as al
from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs.store import Store
from adatune_lite.tasks.augment import MARGIN, Crops, draws
from adatune_lite.tasks.data import CIFAR10, ImageTask, image_task, load_images
from adatune_lite.tasks.sources import DataError
from adatune_lite.tasks.spec import SpecError, TaskSpec
from adatune_lite.training import functions
from adatune_lite.training.context import Context
from adatune_lite.training.loop import CHUNK, evaluate, mean_loss
from adatune_lite.training.spec import RunSpec

SPEC = TaskSpec(
    "mnist5k_rgb32",
    train=300,
    validation=60,
    test=60,
    model="resnet18",
    width=0.0625,
    batch=32,
    scaling="standard",
    augment="crop_flip",
)
PLAIN = dataclasses.replace(SPEC, augment="none")


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def slow_crop(image: np.ndarray, top: int, left: int, flip: int) -> np.ndarray:
    """One image [channels, rows, columns], padded, cropped, then flipped."""
    padded = np.pad(image, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    crop = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
    return crop[:, :, ::-1] if flip else crop


def test_crops_are_those_of_the_definition() -> None:
    """Also of images that are not square, and at both ends of every range."""
    images = torch.randint(
        0, 256, (6, 2, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    crops = Crops(images)
    assert torch.equal(crops.images, images)
    index = torch.tensor([3, 0, 5, 3, 1, 2])
    drawn = torch.tensor([[0, 8, 4, 2, 8, 0], [0, 8, 4, 7, 0, 8], [0, 1, 1, 0, 0, 1]])
    x = crops.take(index, drawn)
    assert x.dtype == torch.uint8
    for k in range(6):
        expected = slow_crop(images[index[k]].numpy(), *drawn[:, k].tolist())
        assert np.array_equal(x[k].numpy(), expected), k


def test_draws_are_uniform() -> None:
    """Counts of 90,000 draws: within five standard deviations of a binomial."""
    drawn = draws(np.random.default_rng(0), 90_000)
    for values, n in zip(drawn, (9, 9, 2), strict=True):
        counts = torch.bincount(values, minlength=n)
        assert len(counts) == n
        assert (counts - 90_000 / n).abs().max() < 5 * (90_000 / n * (1 - 1 / n)) ** 0.5
    correlations = np.corrcoef(drawn.numpy())
    assert abs(correlations[np.triu_indices(3, 1)]).max() < 5 / 300


def test_shapes_follow_the_network() -> None:
    task = image_task(SPEC)
    assert (task.channels, task.classes) == (3, 10)
    for x, y in (task.batch(0, 0), next(task.superbatch(0, 1)), task.validation_batch(0, 32)):
        assert x.shape == (32, 3, 32, 32) and x.is_contiguous() and y.shape == (32,)
    assert task.training()[0].shape == (300, 3, 32, 32) and task.test()[0].shape == (60, 3, 32, 32)
    digits = TaskSpec("mnist5k", train=40, validation=20, test=20, batch=10, model="conv4")
    assert image_task(digits).batch(0, 0)[0].shape == (10, 1, 28, 28)
    flat = dataclasses.replace(digits, model="mlp_bn", augment="crop_flip", scaling="standard")
    x, _ = image_task(flat).batch(0, 0)
    assert x.shape == (10, 784)
    images = image_task(dataclasses.replace(flat, model="conv4")).batch(0, 0)[0]
    assert torch.equal(x, images.flatten(1))


def test_without_augmentation_a_batch_holds_the_images_themselves() -> None:
    task = image_task(dataclasses.replace(PLAIN, scaling="unit"))
    images, labels = task.training()
    for step in (0, 8, 9, 30):
        x, y = task.batch(2, step)
        place = task.order(2, step + 1)[step]
        assert torch.equal(x, images[place]) and torch.equal(y, labels[place])


def test_augmented_batches_are_crops_of_the_same_images() -> None:
    task, plain = (image_task(dataclasses.replace(spec, scaling="unit")) for spec in (SPEC, PLAIN))
    assert same(task.training(), plain.training()), "the images themselves stay as they are"
    assert same(task.validation_batch(1, 20), plain.validation_batch(1, 20)), "and so do outer batches"
    moved = 0
    for step in (0, 9, 10):
        (x, y), (z, labels) = task.batch(1, step), plain.batch(1, step)
        assert torch.equal(y, labels)
        for image, original in zip((x * 255).byte().numpy(), (z * 255).byte().numpy(), strict=True):
            found = [
                (top, left, flip)
                for top in range(9)
                for left in range(9)
                for flip in range(2)
                if np.array_equal(image, slow_crop(original, top, left, flip))
            ]
            assert found
            moved += found[0] != (MARGIN, MARGIN, 0)
    assert moved > 80, "of 96 images nearly all move"


def test_augmented_batches_are_functions_of_seed_and_step() -> None:
    """In any order, from any object, and with the global random state in any state: resume is exact."""
    task, fresh = image_task(SPEC), image_task(SPEC)
    first = [task.batch(3, step) for step in range(12)]
    torch.manual_seed(5)
    for step in (11, 0, 9, 3):
        fresh.batch(4, step), list(fresh.superbatch(step, 2)), fresh.validation_batch(step, 20)
        assert same(fresh.batch(3, step), first[step])
    assert not torch.equal(task.batch(4, 0)[0], first[0][0])


def test_every_batch_crops_anew() -> None:
    """Of images that are all the same one, two batches differ in their crops alone."""
    pool = load_images("mnist5k_rgb32", "all")
    noise = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    alike = dataclasses.replace(pool, images=noise.expand_as(pool.images))
    parts = {part: ("all", np.arange(64)) for part in ("train", "validation", "test")}
    spec = dataclasses.replace(SPEC, train=64)
    task = ImageTask(spec, {"all": alike}, parts, "cpu", torch.float32)
    batches = [task.batch(seed, step) for seed in (0, 1) for step in range(4)]
    batches += [batch for k in (0, 1) for seed in (0, 1) for batch in task.superbatch(k, 2, seed)]
    assert len({x.numpy().tobytes() for x, _ in batches}) == 16


def test_superbatches_are_fixed_data() -> None:
    task, fresh = image_task(SPEC), image_task(SPEC)
    first = list(task.superbatch(2, 9))
    for again in (list(task.superbatch(2, 9)), list(fresh.superbatch(2, 9))):
        assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert same(first[0], next(fresh.superbatch(2, 1))), "a smaller one is the beginning of a larger one"
    assert not torch.equal(first[0][1], next(task.superbatch(3, 1))[1])
    assert not torch.equal(first[0][1], next(task.superbatch(2, 1, seed=1))[1])
    plain = image_task(PLAIN)
    images = {x.numpy().tobytes() for x in plain.training()[0]}
    seen = [x.numpy().tobytes() for batch, _ in plain.superbatch(2, 9) for x in batch]
    assert len(seen) == 288 and set(seen) <= images
    for batches in (0, 10):
        with pytest.raises(DataError, match=f"a superbatch has 1 to 9 batches, not {batches}"):
            task.superbatch(0, batches)


def test_standard_scaling_has_mean_zero_and_variance_one() -> None:
    task = image_task(PLAIN, dtype=torch.float64)
    x = task.training()[0]
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(x.var((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64))
    unit = image_task(dataclasses.replace(PLAIN, scaling="unit"), dtype=torch.float64)
    pixels = unit.training()[0]
    mean, deviation = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    for one, other in ((task.test(), unit.test()), (task.validation(), unit.validation())):
        expected = (other[0] - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
        torch.testing.assert_close(one[0], expected, rtol=1e-12, atol=1e-12)


def test_a_constant_channel_is_scaled_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = load_images("mnist5k_rgb32", "all")
    images = pool.images.clone()
    images[:, 1] = 7
    grey = dataclasses.replace(pool, images=images)
    task = ImageTask(
        PLAIN, {"all": grey}, {p: ("all", np.arange(40)) for p in ("train", "test")}, "cpu", torch.float32
    )
    assert torch.equal(task.test()[0][:, 1], torch.zeros(40, 32, 32)) and task.test()[0].isfinite().all()


def test_places_of_augmented_batches_are_refused() -> None:
    with pytest.raises(DataError, match="no places in the training images"):
        image_task(SPEC).order(0, 1)


def test_parts_of_cifar_are_those_of_the_plan() -> None:
    assert (CIFAR10.train, CIFAR10.validation, CIFAR10.test, CIFAR10.batch) == (45_000, 5_000, 10_000, 128)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling": "imagenet"}, "scaling must be one of unit, standard, not 'imagenet'"),
        ({"augment": "mixup"}, "augment must be one of none, crop_flip, not 'mixup'"),
        ({"hidden": (3,)}, "hidden is no setting of the network 'resnet18'"),
        ({"activation": "tanh"}, "activation is no setting of the network 'resnet18'"),
        ({"model": "mlp"}, "width is no setting of the network 'mlp'"),
    ],
)
def test_settings_that_are_none_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        dataclasses.replace(SPEC, **changes)


def test_new_settings_leave_old_identities_alone() -> None:
    """The hash of a run that was made before there were widths, scalings and augmentation."""
    old = RunSpec(
        "training", TaskSpec("mnist", 7000, 700, 10_000), "constant", 512, 0, settings=(("lr", 0.1),)
    )
    assert old.canonical()["task"] == {"dataset": "mnist", "train": 7000, "validation": 700, "test": 10_000}
    new = dataclasses.replace(old, task=SPEC)
    assert {"width", "scaling", "augment"} <= set(new.canonical()["task"])
    assert RunSpec.from_dict(new.canonical()) == new
    hashes = {dataclasses.replace(old, task=task).hash for task in (SPEC, PLAIN, CIFAR10)}
    assert len(hashes) == 3


def test_a_run_of_a_convolutional_network(tmp_path: Path) -> None:
    settings = (("hyper_lr", 1e-4), ("lr", 0.05), ("mu", 0.9), ("outer_batch", 20))
    spec = RunSpec("training", SPEC, "marthe", 3, 0, settings=settings)
    context = Context("cpu", Store(tmp_path), Checkpoint(tmp_path / "kept.pt", "test"))
    outcomes = [functions.training(spec, context) for _ in range(2)]
    assert outcomes[0].status == "finished" and outcomes[0].metrics == outcomes[1].metrics
    assert len(set(outcomes[0].series["lr"])) == 3


@pytest.mark.parametrize("model", ["resnet18", "vgg11"])
def test_a_run_with_crops_resumes_bit_for_bit(model: str, tmp_path: Path) -> None:
    """Stopped after every step, over the end of an epoch; vgg11 in channels_last."""
    settings = (("hyper_lr", 1e-4), ("lr", 0.05), ("mu", 0.9), ("outer_batch", 20))
    task = dataclasses.replace(SPEC, model=model, train=96)
    spec = RunSpec(
        *("training", task, "marthe", 5, 0, settings),
        optimizer_settings=(("momentum", 0.9), ("weight_decay", 5e-4)),
    )
    store = Store(tmp_path)
    whole = functions.training(spec, Context("cpu", store, Checkpoint(tmp_path / "whole.pt", "test")))
    kept = Context("cpu", store, Checkpoint(tmp_path / "kept.pt", "test"), deadline=0.0)
    for _ in range(4):
        assert functions.training(spec, kept).status == "stopped by budget"
    resumed = functions.training(spec, kept)
    assert resumed.status == "finished" and resumed.metrics == whole.metrics
    for name in ("lr", "train_loss", "hypergradient"):
        assert list(resumed.series[name]) == list(whole.series[name]) and len(set(whole.series[name])) == 5


def test_a_task_may_say_how_weights_begin() -> None:
    spec = RunSpec("training", dataclasses.replace(SPEC, initial="xavier"), "constant", 1, 4)
    _, net = functions.setting(spec, "cpu")
    own = al.tasks.models.build("resnet18", seed=4, channels=3, width=0.0625, initial="xavier")
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), own.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_setting_has_the_network_of_the_task(precision: str) -> None:
    spec = RunSpec("training", SPEC, "constant", 1, 4, precision=precision)
    task, net = functions.setting(spec, "cpu")
    own = al.tasks.models.build("resnet18", seed=4, classes=10, channels=3, width=0.0625)
    assert [p.shape for p in net.parameters()] == [p.shape for p in own.parameters()]
    for p, q in zip(net.parameters(), own.parameters(), strict=True):
        assert p.dtype == task.dtype == functions.DTYPES[precision] and torch.equal(p, q.to(p.dtype))
    digits = TaskSpec("mnist5k", 40, 20, 20, model="lenet5", batch=10, width=0.5)
    task, net = functions.setting(dataclasses.replace(spec, task=digits), "cpu")
    assert net(task.batch(0, 0)[0]).shape == (10, 10)


def test_autolr_trains_on_superbatches() -> None:
    """What a run function has to write: the mean over the batches of superbatch k."""
    task = image_task(SPEC)
    net = al.tasks.models.build("resnet18", seed=0, width=0.0625)
    tuner = al.AutoLR(torch.optim.SGD(net.parameters(), lr=0.05), explore_steps=4, window=2, superbatch=2)

    def outer(k: int) -> Tensor:
        return torch.stack([mean_loss(net, batch) for batch in task.superbatch(k, 2)]).mean()

    for step in range(4):
        tuner.step(partial(mean_loss, net, task.batch(0, step)), outer)
    assert [len(d.losses) for d in tuner.log] == [5, 5]


def test_images_are_evaluated_in_chunks() -> None:
    """The same figures as at once, up to rounding; flat images are one chunk, to the last digit."""
    net = al.tasks.models.build("conv4", seed=0, width=0.1).double()
    x, y = torch.rand(CHUNK + 7, 1, 28, 28, dtype=torch.float64), torch.arange(CHUNK + 7) % 10
    sizes = []
    net.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    chunked, whole = evaluate(net, (x, y)), evaluate(net, (x.flatten(1), y))
    assert sizes == [CHUNK, 7, CHUNK + 7]
    assert chunked == pytest.approx(whole, rel=1e-12)
