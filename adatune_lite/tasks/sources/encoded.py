"""Readers of CIFAR's pickles and of Parquet files with an encoded image in each row."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from adatune_lite import files
from adatune_lite.tasks.sources.dataset import DataError, Dataset, Found
from adatune_lite.tasks.sources.readers import content, unreadable

_DECODER = b"2"
"""Part of the key of what is kept decoded; the first one called lossless WebP a copy."""
_LOSSLESS_WEBP = "lossless WEBP"


class _Arrays(pickle.Unpickler):
    """Unpickles arrays, lists, numbers and text; other pickles could run any code."""

    allowed: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 pickles under another name than the one under which CIFAR was pickled.
        known = (module.replace("numpy._core", "numpy.core"), name)
        if known not in self.allowed:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}")
        return self.allowed[known]


def read_pickles(entry: Dataset, part: str, root: Path) -> Found | None:
    """torchvision's layout of CIFAR: pickled batches with data [n, channels * rows * columns] and labels."""
    paths = [root / entry.folder / name for name in entry.files[part]]
    if not all(path.is_file() for path in paths):
        return None
    batches = [_unpickled(path.relative_to(root), content(path, root), entry) for path in paths]
    images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return Found(images, labels, f"{entry.folder}/{entry.files[part][0]}")


def _unpickled(name: Path, content: bytes, entry: Dataset) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = _Arrays(io.BytesIO(content), encoding="latin1").load()
        images, labels = np.asarray(batch["data"]), np.asarray(batch[f"{entry.label}s"])
        return images.reshape(-1, *entry.shape), labels
    except Exception as error:  # A damaged pickle raises almost anything.
        raise unreadable(name, error) from error


def read_parquet(entry: Dataset, part: str, root: Path) -> Found | None:
    """The Hugging Face layout: NAME/PART.parquet or NAME/.../PART-00000-of-00001.parquet (all shards).

    Column img holds {bytes, path} with one encoded image each. PNG and lossless WebP are the pixels
    themselves; images that were stored with loss are used and named, for example "JPEG copy". Decoding takes
    seconds, so what came out is kept in the scratch folder under the SHA-256 of the files.
    """
    return _read_folder(entry, part, root, entry.name)


def read_lossless_parquet(entry: Dataset, part: str, root: Path) -> Found | None:
    """The same layout in a folder NAME_lossless, which may lie beside a copy with loss."""
    return _read_folder(entry, part, root, f"{entry.name}_lossless")


def _read_folder(entry: Dataset, part: str, root: Path, folder: str) -> Found | None:
    paths = sorted((root / folder).rglob(f"{part}*.parquet"))
    if not paths:
        return None
    source = paths[0].relative_to(root).as_posix()
    digest = hashlib.sha256(_DECODER + b"".join(content(path, root) for path in paths)).hexdigest()
    cache = files.scratch_folder() / f"{folder}-{part}.npz"
    # A cache that is absent or damaged is made again. NumPy would leave a damaged one open.
    with contextlib.suppress(Exception), open(cache, "rb") as file, np.load(file) as kept:
        if str(kept["files"]) == digest:
            return Found(kept["images"], kept["labels"], source, str(kept["note"]))
    images, labels, formats = zip(*(_rows(path, root, entry) for path in paths), strict=True)
    lossy = sorted(set().union(*formats) - {"PNG", _LOSSLESS_WEBP})
    found = Found(
        np.concatenate(images),
        np.concatenate(labels),
        source,
        f"{', '.join(lossy)} copy" if lossy else "",
    )
    buffer = io.BytesIO()
    np.savez(buffer, images=found.images, labels=found.labels, note=found.note, files=digest)
    with contextlib.suppress(OSError):  # A read-only checkout: the next process decodes again.
        files.replace(cache, buffer.getvalue())
    return found


def _rows(path: Path, root: Path, entry: Dataset) -> tuple[np.ndarray, np.ndarray, set[str]]:
    name = path.relative_to(root)
    try:
        import pyarrow.parquet
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"{name} is read with pyarrow and pillow: install both, "
            f"or put {entry.name}.npz (data pack on another machine) beside its folder"
        ) from error
    channels, *size = entry.shape
    formats: set[str] = set()
    try:
        table = pyarrow.parquet.read_table(path, columns=["img", entry.label])
        labels = table[entry.label].to_numpy()
        images = np.empty((len(labels), *size, channels), np.uint8)
        for row, encoded in enumerate(table["img"].to_pylist()):
            with Image.open(io.BytesIO(encoded["bytes"])) as image:
                # Asked before it is decoded, for which there may be no memory.
                shape = (image.height, image.width, len(image.getbands()))
                if shape != images.shape[1:]:
                    raise DataError(
                        f"{name}: image {row} is {shape} instead of {images.shape[1:]}: "
                        "replace the file by a sound copy"
                    )
                images[row] = np.asarray(image).reshape(shape)
                formats.add(_LOSSLESS_WEBP if _is_lossless_webp(encoded["bytes"]) else str(image.format))
    except (
        *(OSError, ValueError, KeyError, TypeError, SyntaxError, EOFError, MemoryError, struct.error),
        *(Image.DecompressionBombError, Image.DecompressionBombWarning),
    ) as error:
        raise error if isinstance(error, DataError) else unreadable(name, error) from error
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels, formats


def _is_lossless_webp(encoded: bytes) -> bool:
    """Whether it is one WebP image whose pixels are in a VP8L chunk, alone or among those of a VP8X file."""
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WEBP":
        return False
    place = 12
    while place + 8 <= len(encoded):
        kind, size = struct.unpack_from("<4sI", encoded, place)
        if kind in (b"VP8L", b"VP8 "):  # Pixels without and with loss.
            return bool(kind == b"VP8L")
        place += 8 + size + size % 2
    return False
