"""Many records in few files, for bringing them from one machine to another; with them what is under way.

A pack is a zip file: the standard library writes and reads it, everybody can look into it, every record in
it has a checksum and its list of contents stands at the end, so that a torn pack is noticed. The records
keep their names and their bytes. Equal records give equal packs (sorted, without time stamps; compression
may differ between builds of zlib), named by their content: no pack overwrites another.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from adatune_lite import files
from adatune_lite.runs.record import Record, RecordError
from adatune_lite.runs.store import Store

PACKS = 8
"""Files at most."""
PACK_LIMIT = 16 * 2**20
"""Bytes that every pack stays under."""
RECORD_LIMIT = PACK_LIMIT
"""Bytes of the largest record that is read from a pack: a small file can claim to hold a huge one."""

_ENTRY = 200
"""Bytes that a zip file needs beside a record's content and its two names; about 120, rounded up."""


class PackError(ValueError):
    """A file that is no whole pack."""


@dataclass
class Packed:
    """What was packed."""

    paths: list[Path] = field(default_factory=list)
    records: int = 0
    left_out: list[str] = field(default_factory=list)
    """A sentence for each record that is in no pack."""
    checkpoints: int = 0
    too_large: list[str] = field(default_factory=list)
    """A sentence for each checkpoint that is in no pack: its run starts anew elsewhere."""


def pack(
    source: Path,
    folder: Path,
    checkpoints: Iterable[Path] = (),
    *,
    limit: int | None = None,
    most: float = PACKS,
) -> Packed:
    """Put the sound records of a store's folder into packs in another folder.

    Behind them come the checkpoints of runs under way, as far as there is room. Packs from an earlier call
    whose records are all in the new ones are removed.

    limit: bytes that every pack stays under, by default `PACK_LIMIT`. most: packs at most; where that is
    infinite, a checkpoint that does not fit into one is put into several, in parts.

    Raises:
        OSError: the folder cannot be written or the disk is full; earlier packs are as before.
    """
    done = Packed()
    earlier = sorted(folder.glob("records-*.zip"))
    open_pack = _Open(limit := limit or PACK_LIMIT)

    def put(name: str, content: bytes) -> bool:
        """Add it, to the next pack if need be; False where there is no room."""
        nonlocal open_pack
        if open_pack.names and not open_pack.fits(name, content) and len(done.paths) + 1 <= most:
            done.paths.append(open_pack.write(folder))
            open_pack = _Open(limit)
        if len(done.paths) == most or not open_pack.fits(name, content):
            return False
        open_pack.add(name, content)
        return True

    for path in Store(source).paths():
        try:
            content = files.content(path, RECORD_LIMIT)
            Record.from_json(content)
        except (RecordError, OSError) as error:
            why = files.why(error) if isinstance(error, OSError) else error
            done.left_out.append(f"{path.name}: {why}")
            continue
        if not put(path.name, content):
            done.left_out.append(f"{path.name}: more than {most} packs of 16 MiB: bring its folder back too")
            continue
        done.records += 1
    for path in sorted(checkpoints):
        content = path.read_bytes()
        room = len(done.paths) + 1 < most or open_pack.fits(path.name, content)
        parts = _parts(path.name, content, limit if math.isinf(most) else None)
        if not (room and all(put(*part) for part in parts)):
            done.too_large.append(f"{path.name}: there is no room for this checkpoint in 8 packs of 16 MiB")
            continue
        done.checkpoints += 1
    if open_pack.names:
        done.paths.append(open_pack.write(folder))
    packed = {entry for path in done.paths for entry in _entries(path)}
    for path in earlier:
        if path not in done.paths and _entries(path) <= packed:
            path.unlink()
    return done


def members(path: Path, wrong: Callable[[PackError], None] | None = None) -> Iterator[tuple[str, bytes]]:
    """(name, content) of everything in a pack; the names are those of the pack and lead nowhere.

    wrong: told of each member that cannot be read, which is left out; by default the first one is raised.

    Raises:
        PackError: it is not a whole zip file, or holds what is too large for a record.
    """
    try:
        with files.opened(path) as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                try:
                    content = _member(archive, info)
                except PackError as error:
                    if wrong is None:
                        raise
                    wrong(error)
                else:
                    yield info.filename, content
    except _DAMAGED as error:
        raise PackError(f"it is not a whole pack ({error})") from error
    except OSError as error:
        raise PackError(f"it cannot be read ({files.why(error)})") from error


_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
)
"""What reading a damaged pack can raise, besides errors of the system."""


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > RECORD_LIMIT:
        raise PackError(f"{info.filename[:100]} in it is too large for a record")
    try:
        with archive.open(info) as member:
            # No more than it claims: it may unpack to anything.
            return member.read(info.file_size + 1)
    except (*_DAMAGED, OSError) as error:
        raise PackError(f"it is not a whole pack ({info.filename[:100]}: {error})") from error


PART = re.compile(
    r"(?P<name>.+\.pt)\.(?P<digest>[0-9a-f]{8})\.(?P<place>[0-9]{1,6})-of-(?P<count>[0-9]{1,6})"
)
"""The name of a part of a checkpoint: parts of one digest belong together."""


def _parts(name: str, content: bytes, limit: int | None) -> list[tuple[str, bytes]]:
    """A checkpoint as entries that a pack of `limit` bytes can hold; whole without a limit."""
    size = min(limit or 0, RECORD_LIMIT) - 3 * _ENTRY - 2 * len(name)
    if limit is None or len(content) <= size:
        return [(name, content)]
    digest, count = hashlib.sha256(content).hexdigest()[:8], math.ceil(len(content) / size)
    return [
        (f"{name}.{digest}.{k + 1:03}-of-{count:03}", content[k * size : (k + 1) * size])
        for k in range(count)
    ]


class _Open:
    """A pack in the making, in memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.names: list[str] = []
        self._buffer = io.BytesIO()
        self._archive = zipfile.ZipFile(self._buffer, "w", zipfile.ZIP_DEFLATED)
        self._directory = 0

    def fits(self, name: str, content: bytes) -> bool:
        """Whether the pack stays under the limit with this record, were it not to shrink at all."""
        entry = len(content) + 2 * len(name) + _ENTRY
        return self._buffer.tell() + self._directory + entry < self._limit

    def add(self, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        # Weights hardly shrink, and trying takes seconds that a visit does not have.
        info.compress_type = zipfile.ZIP_STORED if PART.fullmatch(name) else zipfile.ZIP_DEFLATED
        info.create_system = 3  # The same bytes on every system.
        info.external_attr = 0o644 << 16
        self._archive.writestr(info, content)
        self._directory += len(name) + _ENTRY
        self.names.append(name)

    def write(self, folder: Path) -> Path:
        self._archive.close()
        content = self._buffer.getvalue()
        path = folder / f"records-{hashlib.sha256(content).hexdigest()[:12]}.zip"
        files.replace(path, content)
        return path


def _entries(path: Path) -> set[tuple[str, int]]:
    """(name, checksum) of each record in a pack; a damaged one has an entry that no other has."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {(info.filename, info.CRC) for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError):
        return {(str(path), -1)}
