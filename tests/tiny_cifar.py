"""A small CIFAR of 30 + 12 images, registered for a test and written in any wrapping."""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adatune_lite import files
from adatune_lite.tasks import sources

rng = np.random.default_rng(1)
PIXELS = {part: rng.integers(0, 256, (n, 3, 32, 32), np.uint8) for part, n in (("train", 30), ("test", 12))}
LABELS = {part: np.arange(len(pixels)) % 10 for part, pixels in PIXELS.items()}
Tiny = Callable[..., sources.Dataset]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tiny:
    """Registers a small CIFAR of 30 + 12 images; the data folder is tmp_path/data, scratch beside it."""
    monkeypatch.setenv("ADATUNE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(files, "scratch_folder", lambda: tmp_path / "scratch")
    (tmp_path / "data").mkdir()
    sources._load.cache_clear()

    def register(name: str = "cifar10", published: bool = False, **changes: Any) -> sources.Dataset:
        checksums = {
            part: sources.checksum(PIXELS[part], LABELS[part]) if published else "" for part in PIXELS
        }
        parts = {part: sources.Part(len(pixels), checksums[part]) for part, pixels in PIXELS.items()}
        entry = dataclasses.replace(
            sources.DATASETS[name], name="tiny", parts=parts, torchvision="", **changes
        )
        monkeypatch.setitem(sources.DATASETS, "tiny", entry)
        return entry

    return register


def python2(pixels: np.ndarray, labels: list[int], label: str) -> bytes:
    """A batch as CIFAR's authors pickled it: Python 2, strings of bytes, NumPy's old module names."""
    raw = pixels.reshape(len(pixels), -1)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"".join(b"J" + struct.pack("<i", n) for n in raw.shape)
        + b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", raw.size)
        + raw.tobytes()
        + b"tb"
    )
    key = b"U" + bytes([len(label)]) + label.encode()
    numbers = b"](" + b"".join(b"K" + bytes([k]) for k in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + key + numbers + b"u."


def write_pickles(entry: sources.Dataset, root: Path) -> Path:
    folder = root / entry.folder
    folder.mkdir(parents=True)
    for part, names in entry.files.items():
        places = np.array_split(np.arange(len(PIXELS[part])), len(names))
        for name, place in zip(names, places, strict=True):
            batch = python2(PIXELS[part][place], LABELS[part][place].tolist(), f"{entry.label}s")
            (folder / name).write_bytes(batch)
    return folder


CHANGES = ("pixels", "labels", "column")


def write_parquet(path: Path, part: str, kind: str = "PNG", label: str = "label", **changes: Any) -> None:
    """One file; further arguments replace its content (`CHANGES`) or are Pillow's."""
    saved = {name: value for name, value in changes.items() if name not in CHANGES}
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image = pytest.importorskip("PIL.Image")
    rows = []
    for pixels in changes.get("pixels", PIXELS[part]):
        buffer = io.BytesIO()
        image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, kind, **saved)
        rows.append({"bytes": buffer.getvalue(), "path": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = changes.get("labels", LABELS[part])
    parquet.write_table(pyarrow.table({changes.get("column", "img"): rows, label: labels}), path)


def write_set(folder: Path, kind: str, **saved: Any) -> None:
    for part in PIXELS:
        write_parquet(folder / f"{part}.parquet", part, kind, **saved)


def same(found: sources.ImageSet, part: str) -> bool:
    equal = np.array_equal(found.images.numpy(), PIXELS[part])
    return equal and np.array_equal(found.labels.numpy(), LABELS[part])
