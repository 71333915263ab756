"""What a data set is: its parts as published, where its files lie, and a checksum that tells copies apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np


class DataError(ValueError):
    """A data set is not there, or a file of it is not what it should be."""


class DataMissing(DataError):
    """A data set is nowhere to be found, and could not be fetched."""


class Found(NamedTuple):
    """What a reader returns."""

    images: np.ndarray
    """uint8 [n, *shape]."""
    labels: np.ndarray
    """Whole numbers [n]."""
    source: str
    """A name without this machine's paths."""
    note: str = ""
    """In which way it is not the published data, for example "JPEG copy"."""


class Part(NamedTuple):
    """A part as published."""

    images: int
    checksum: str
    """Of the decoded pixels and labels, see `checksum`: it knows the part in any wrapping."""


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set, and the readers that may find it, tried in their order."""

    name: str
    parts: dict[str, Part]
    readers: tuple[Callable[[Dataset, str, Path], Found | None], ...]
    shape: tuple[int, ...] = (28, 28)
    """Rows and columns, after the channels if there are several."""
    classes: int = 10
    folder: str = ""
    """Folder in torchvision's layout."""
    torchvision: str = ""
    """Class of `torchvision.datasets` that downloads it."""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Files of each part in that folder; IDX: images, labels."""
    label: str = "label"
    """Column of the labels in Parquet; with an s, their key in CIFAR's pickles."""


def checksum(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the pixels (uint8, in order) followed by the labels (int64, little endian)."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()
