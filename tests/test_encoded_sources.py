"""Colour images: CIFAR's pickles, Parquet and packs, found, refused when broken, copies named as such."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_cifar import LABELS, PIXELS, Tiny, python2, same, write_parquet, write_pickles

from adatune_lite import files
from adatune_lite.tasks import sources
from adatune_lite.tasks.sources import DataError, DataMissing, encoded, load_images, readers


def test_a_batch_of_python_2_is_what_plain_unpickling_gives() -> None:
    """The fixture itself: torchvision unpickles with this encoding."""
    batch = pickle.loads(python2(PIXELS["test"], LABELS["test"].tolist(), "labels"), encoding="latin1")
    assert np.array_equal(batch["data"], PIXELS["test"].reshape(12, -1)) and len(batch["labels"]) == 12


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_pickles_are_read_and_known_by_their_checksum(tiny: Tiny, tmp_path: Path, name: str) -> None:
    entry = tiny(name)
    write_pickles(entry, tmp_path / "data")
    for part in entry.parts:
        found = load_images("tiny", part)
        assert same(found, part) and not found.verified
        assert found.source == f"{entry.folder}/{entry.files[part][0]}"
    tiny(name, published=True)
    sources._load.cache_clear()
    assert all(load_images("tiny", part).verified for part in entry.parts)


def test_pickles_of_today_are_read_too(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "data" / tiny().folder
    folder.mkdir()
    batch = {"data": PIXELS["test"].reshape(12, -1), "labels": LABELS["test"].tolist()}
    for protocol in (2, pickle.DEFAULT_PROTOCOL):
        (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol))
        sources._load.cache_clear()
        assert same(load_images("tiny", "test"), "test")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harmed",)


def test_a_pickle_that_wants_to_run_something_is_refused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / tiny().folder
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / "test_batch").write_bytes(pickle.dumps({"data": Harmful()}))
    with pytest.raises(DataError, match=r"test_batch cannot be read \(it wants to run \w+\.mkdir\)"):
        load_images("tiny", "test")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (python2(PIXELS["test"], [0] * 12, "labels")[:-9], "cannot be read"),
        (python2(PIXELS["test"][:11], [0] * 11, "labels"), "11 images and 11 labels instead of 12"),
        (python2(PIXELS["test"], [0] * 11, "labels"), "12 images and 11 labels instead of 12"),
        (python2(PIXELS["test"], [10] * 12, "labels"), "whole numbers from 0 to 9"),
        (python2(PIXELS["test"], [0] * 12, "names"), "cannot be read"),
        (python2(PIXELS["test"][:, :, :31], [0] * 12, "labels"), "cannot be read"),
        (pickle.dumps({"data": np.zeros((12, 3072)), "labels": [0] * 12}), "pixels float64"),
    ],
)
def test_broken_pickles_are_refused_by_name(tiny: Tiny, tmp_path: Path, content: bytes, message: str) -> None:
    folder = tmp_path / "data" / tiny().folder
    folder.mkdir()
    (folder / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=f"cifar-10-batches-py/test_batch.*{message}"):
        load_images("tiny", "test")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("file", ["{}.parquet", "plain_text/{}-00000-of-00001.parquet"])
def test_parquet_without_loss_is_the_original(tiny: Tiny, tmp_path: Path, name: str, file: str) -> None:
    entry = tiny(name)
    for part in entry.parts:
        write_parquet(tmp_path / "data" / "tiny" / file.format(part), part, label=entry.label)
        found = load_images("tiny", part)
        assert same(found, part) and found.note == ""
        assert found.source == f"tiny/{file.format(part)}"


def test_shards_of_parquet_are_joined(tiny: Tiny, tmp_path: Path) -> None:
    tiny()
    for shard, place in enumerate((slice(0, 20), slice(20, 30))):
        path = tmp_path / "data" / "tiny" / f"train-0000{shard}-of-00002.parquet"
        write_parquet(path, "train", pixels=PIXELS["train"][place], labels=LABELS["train"][place])
    assert same(load_images("tiny", "train"), "train")


def test_parquet_is_decoded_once(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the file changes, or the cache is damaged."""
    tiny()
    path = tmp_path / "data" / "tiny" / "test.parquet"
    write_parquet(path, "test", "JPEG")
    decoded = []
    original = encoded._rows
    monkeypatch.setattr(encoded, "_rows", lambda *given: decoded.append(1) or original(*given))

    def read() -> sources.ImageSet:
        sources._load.cache_clear()
        return load_images("tiny", "test")

    first, second = read(), read()
    assert len(decoded) == 1 and second.checksum == first.checksum and second.source == first.source
    cache = tmp_path / "scratch" / "tiny-test.npz"
    whole = cache.read_bytes()
    changed = bytearray(whole)
    changed[2000] ^= 1
    for damaged in (bytes(changed), whole[:-100], b"torn"):
        cache.write_bytes(damaged)
        before = len(decoded)
        assert read().checksum == first.checksum and len(decoded) == before + 1
    write_parquet(path, "test", "PNG")
    assert same(read(), "test") and read().note == ""

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    cache.unlink()
    monkeypatch.setattr(files, "replace", full)
    assert same(read(), "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": PIXELS["test"][:, :, :31]}, r"image 0 is \(31, 32, 3\) instead of \(32, 32, 3\)"),
        ({"pixels": PIXELS["test"][:11], "labels": LABELS["test"][:11]}, "11 images and 11 labels"),
        ({"labels": LABELS["test"] + 1}, "whole numbers from 0 to 9"),
        ({"labels": LABELS["test"] / 2}, "whole numbers from 0 to 9"),
        ({"column": "picture"}, "cannot be read"),
        ({"label": "class"}, "cannot be read"),
    ],
)
def test_broken_parquet_is_refused_by_name(
    tiny: Tiny, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    tiny()
    write_parquet(tmp_path / "data" / "tiny" / "test.parquet", "test", **changes)
    with pytest.raises(DataError, match=f"tiny/test.parquet.*{message}"):
        load_images("tiny", "test")


def test_parquet_that_is_none_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    tiny()
    (tmp_path / "data" / "tiny").mkdir()
    (tmp_path / "data" / "tiny" / "test.parquet").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"tiny/test.parquet cannot be read"):
        load_images("tiny", "test")


def test_parquet_without_its_readers_says_what_to_do(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny()
    write_parquet(tmp_path / "data" / "tiny" / "test.parquet", "test")
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(DataError, match=r"read with pyarrow and pillow: install both, or put tiny\.npz"):
        load_images("tiny", "test")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("cifar10", r"data_batch_1, .*test_batch into its folder cifar-10-batches-py, or train.parquet and "),
        ("cifar100", r"train, test into its folder cifar-100-python, or train.parquet and test.parquet into"),
        ("fashion_mnist", r"ubyte\[.gz\] into its folder FashionMNIST/raw, or fashion_mnist.npz"),
    ],
)
def test_missing_sets_say_what_to_put_where(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(DataMissing, match=what):
        load_images(name, "train", root=tmp_path, download=False)


def test_a_download_leaves_what_can_be_known_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision unpacks: the gzipped files stay, and pickles as they are."""
    datasets = pytest.importorskip("torchvision.datasets")
    cifar = tiny()

    def fetch(folder: str, download: bool) -> None:
        write_pickles(cifar, Path(folder))
        (Path(folder) / "tiny.tar.gz").touch()

    monkeypatch.setattr(datasets, "Tiny", fetch, raising=False)
    monkeypatch.setitem(sources.DATASETS, "tiny", dataclasses.replace(cifar, torchvision="Tiny"))
    assert same(load_images("tiny", "train"), "train")
    assert sorted(os.listdir(tmp_path / "data")) == ["cifar-10-batches-py"]

    def fetch_idx(folder: str, download: bool) -> None:
        (Path(folder) / "MNIST/raw").mkdir(parents=True)
        for name in ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"):
            (Path(folder) / "MNIST/raw" / name).touch()

    monkeypatch.setattr(datasets, "MNIST", fetch_idx)
    assert readers.download(sources.DATASETS["mnist"], tmp_path / "data")
    assert os.listdir(tmp_path / "data/MNIST/raw") == ["train-images-idx3-ubyte.gz"]


def test_padded_digits_are_the_embedded_ones() -> None:
    digits, padded = load_images("mnist5k", "all"), load_images("mnist5k_rgb32", "all")
    assert padded.images.shape == (5000, 3, 32, 32) and padded.verified
    assert padded.source == f"{digits.source}, padded to 32 pixels on 3 channels"
    for channel in range(3):
        assert (padded.images[:, channel, 2:30, 2:30] == digits.images).all()
    assert int(padded.images.sum(dtype=int)) == 3 * int(digits.images.sum(dtype=int)), "zeros around"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_every_part_has_a_checksum_and_real_data_have_it(name: str) -> None:
    """A copy with loss has another one, and says so."""
    for part in sources.DATASETS[name].parts:
        try:
            found = load_images(name, part, download=False)
        except DataMissing as error:
            pytest.skip(f"needs {name}: {error}")
        assert found.verified or "copy" in found.source


def test_real_cifar10_where_it_is_there() -> None:
    """Its first labels (frog, truck, truck, deer, automobile; cat, ship, ship, airplane, frog) and means."""
    for part, first in (("train", [6, 9, 9, 4, 1]), ("test", [3, 8, 8, 0, 6])):
        try:
            found = load_images("cifar10", part, download=False)
        except DataMissing as error:
            pytest.skip(f"needs CIFAR-10: {error}")
        assert found.labels[:5].tolist() == first
        assert np.bincount(found.labels).tolist() == [len(found.labels) // 10] * 10
        assert found.verified or "copy" in found.source
        means = found.images.float().mean((0, 2, 3)) / 255
        assert means.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.005)
