"""Where the project keeps its files, and how a file is written so that no reader ever sees half of it."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

TEMPORARY = re.compile(r"\..+\.[0-9]+-[0-9a-f]{8}\.tmp")
"""The name of a file that is not written yet, see `written_beside`."""
DAY = 24 * 3600
PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """The checkout: the nearest parent of the working folder, else of this package, with a pyproject.toml.

    The working folder counts only if it is a checkout of this project, so that a call from inside some
    other project does not write there. Without a checkout the working folder itself serves.
    """
    return _project_root(os.getcwd())


@lru_cache(maxsize=8)
def _project_root(working_folder: str) -> Path:
    # Asked for every record that is read.
    here = Path(working_folder)
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / PACKAGE.name).is_dir():
            return folder
    for folder in PACKAGE.parents:
        if (folder / "pyproject.toml").is_file():
            return folder
    return here


def raw_folder() -> Path:
    """Data sets as they were found or downloaded: `ADATUNE_DATA`, by default data/raw."""
    named = os.environ.get("ADATUNE_DATA")
    return Path(named).expanduser().resolve() if named else project_root() / "data" / "raw"


def reference(name: str) -> Path:
    """A file of data/reference: what the papers print.

    Raises:
        FileNotFoundError: neither the checkout nor the folder of this package has it.
    """
    # The working folder may be a checkout without the reference files: those beside the package serve too.
    for root in (project_root(), PACKAGE.parent):
        if (root / "data" / "reference" / name).is_file():
            return root / "data" / "reference" / name
    raise FileNotFoundError(f"there is no data/reference/{name}: work in a checkout of the project")


def scratch_folder() -> Path:
    """What can be made again: caches, checkpoints, records of small profiles. Ignored by git."""
    return project_root() / "data" / "scratch"


def committed_folder() -> Path:
    """The records that are kept under version control."""
    return project_root() / "data" / "runs"


@contextmanager
def opened(path: Path | str) -> Iterator[BinaryIO]:
    """A file open for reading.

    Raises:
        OSError: it cannot be read, or is no file: a folder, or a pipe, for whose writer nobody should wait.
    """
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", os.fspath(path))
        yield file


def content(path: Path | str, most: int) -> bytes:
    """The bytes of a file; raises OSError as `opened` does, and for one of more than `most` bytes."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than {most:,}", os.fspath(path))
        return file.read()


def why(error: OSError) -> str:
    """What the system says, without the path, which may be long and another for each of many files."""
    return error.strerror or str(error)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def replace(path: Path, content: bytes) -> None:
    """Write `content` to `path` at once: afterwards it holds the old or the new content, never a part.

    Raises:
        OSError: the folder cannot be written or the disk is full; `path` is as before.
    """
    with written_beside(path, content) as temporary:
        os.replace(temporary, path)
        sync_folder(path.parent)


def create(path: Path, content: bytes) -> bool:
    """Write a new file at once; False, and nothing changed, if `path` is already there.

    Of several writers in a shared folder exactly one gets True.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    with written_beside(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            # A file system without hard links: the check and the rename are then two steps.
            if path.exists():
                return False
            os.replace(temporary, path)
        sync_folder(path.parent)
        return True


@contextmanager
def written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """A complete, synced temporary file in the folder of `path`; removed at the end if still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def temporary(folder: Path) -> list[Path]:
    """What writers have not finished, or left behind when they were stopped, in a folder; sorted."""
    return sorted(path for path in folder.glob(".*.tmp") if TEMPORARY.fullmatch(path.name))


def sweep(folder: Path) -> None:
    """Remove what stopped writers left behind in a folder.

    Only what is a day old: writing takes seconds, and the process of a writer on another machine, which its
    name gives, cannot be asked for from here.
    """
    for path in temporary(folder):
        with suppress(OSError):  # Another one may sweep too; a folder of others may not be written.
            if path.lstat().st_mtime < time.time() - DAY:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system offers it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows does not open folders.
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
