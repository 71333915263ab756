"""The records of a folder, found by the hash of their spec, without opening the files that are known already.

What they say, their series aside, is kept in one file of the folder, `.index`. It is a cache, never a truth:
an entry holds for the size and the times of the file that it was read from, and every file is looked at when
its record is asked for, so that one that was altered, added or removed counts at once. The index can be
deleted at any time; a damaged one, or one of another version, is made anew; where none can be written, the
records are read each time. Nothing that checks records (`verify`, `merge`, writers) reads it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from adatune_lite import files
from adatune_lite.runs.record import FULL, MOST, SCHEMA, Record, RecordError, checked, digest_of
from adatune_lite.tasks.spec import SpecError
from adatune_lite.training import registry
from adatune_lite.training.spec import RunSpec

NAME = ".index"
VERSION = 2
YOUNG = 2 * 10**9
"""Nanoseconds: the coarsest clock of a file system. What changed so lately may change again unnoticed."""
MANY = 1000
"""Files whose reading takes long enough to be told of."""

_log = logging.getLogger("adatune_lite")


class State(NamedTuple):
    """By what a change of a file is noticed."""

    size: int
    modified: int
    changed: int
    """Nanoseconds; the system sets it, so that it tells even where `modified` was set back."""

    @classmethod
    def of(cls, path: str) -> State:
        """Of a file or folder as it is; raises OSError if it is not there."""
        found = os.stat(path)
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @property
    def settled(self) -> bool:
        """Whether a further change would show."""
        return max(self.modified, self.changed) < time.time_ns() - YOUNG


class Entry(NamedTuple):
    """What is remembered of a record's file."""

    state: State
    body: dict[str, Any]
    """All that it says but its series, as `record.checked` gives it."""
    digest: str
    """Of its schedule, which plans ask for; empty without one."""


class Folder:
    """The records of one folder, each read once for each change of its file."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._listed: dict[str, tuple[State, list[str]]] = {}
        self._records: dict[str, tuple[State, Record]] = {}

    def names(self, prefix: str = "") -> Iterator[str]:
        """The files of records whose spec hash begins so, as "ab/abcdef....json", sorted.

        Those in conflict and temporary ones are none.
        """
        for part in [prefix[:2]] if prefix else self._parts():
            yield from (name for name in self._names(part) if name.startswith(prefix[:16], 3))

    def _parts(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._root) if len(name) == 2)
        except OSError:
            return []

    def _names(self, part: str) -> list[str]:
        place = f"{self._root}/{part}"
        try:
            state = State.of(place)
            known = self._listed.get(part)
            # A file that comes within the same tick of the clock leaves the folder's time as it is.
            if known is None or known[0] != state or not state.settled:
                found = sorted(f"{part}/{name}" for name in os.listdir(place) if _is_record(name))
                known = self._listed[part] = (state, found)
        except OSError:
            return []
        return known[1]

    def record(self, name: str) -> Record:
        """The record of one of the `names`.

        Raises:
            RecordError: it is damaged, of a newer schema, or no run that this version knows.
            OSError: it cannot be read.
        """
        path = f"{self._root}/{name}"
        state = State.of(path)
        known = self._records.get(name)
        # What is registered for a time may be gone by now.
        if known is None or known[0] != state or not _exists(known[1].spec):
            entry = self._entries.get(name)
            if entry is None or entry.state != state:
                record = Record.from_json(_content(path))
            else:
                record = Record.from_body(entry.body, Later(path, entry.body["digest"]), entry.digest)
            known = self._records[name] = (state, record)
        return known[1]

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        """What the index says, brought up to date."""
        place = Path(self._root) / NAME
        before = read(place)
        entries, new = {}, []
        for name in self.names():
            with suppress(OSError):
                state = State.of(f"{self._root}/{name}")
                if name in before and before[name].state == state:
                    entries[name] = before[name]
                elif state.settled:
                    new.append((name, state))
        if len(new) >= MANY:
            _log.warning("%d records of %s are read once, for its index", len(new), self._root)
        for name, state in new:
            with suppress(OSError, RecordError):
                entries[name] = _entry(state, checked(_content(f"{self._root}/{name}")))
        if entries != before:
            with suppress(OSError):
                write(place, entries)
        return entries


@lru_cache(maxsize=8)
def folder(root: str) -> Folder:
    """The records of a folder, given by its absolute path: what several stores read is read once."""
    return Folder(root)


class Later(Mapping[str, dict[str, list[Any]]]):
    """The series of a record, read from its file when they are asked for."""

    def __init__(self, path: str, digest: str) -> None:
        self._path, self._digest = path, digest

    @cached_property
    def _series(self) -> dict[str, dict[str, list[Any]]]:
        try:
            body = checked(_content(self._path))
        except (OSError, RecordError) as error:
            raise RecordError(f"{self._path} cannot be read any more ({error}): ask again") from error
        if body["digest"] != self._digest:
            raise RecordError(f"{self._path} was changed after its record was asked for: ask again")
        series: dict[str, dict[str, list[Any]]] = body["series"]
        return series

    def __getitem__(self, name: str) -> dict[str, list[Any]]:
        return self._series[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._series)

    def __len__(self) -> int:
        return len(self._series)

    def __repr__(self) -> str:
        return f"series of {self._path}"


def read(place: Path) -> dict[str, Entry]:
    """The entries of an index by the name of their file; none if it is not there or cannot be used."""
    try:
        head, _, lines = place.read_bytes().partition(b"\n")
    except OSError:
        return {}
    if head != _head(lines):
        _log.warning("the index %s is damaged or of another version: it is made anew from the records", place)
        return {}
    entries = json.loads(b"[%s]" % b",".join(lines.splitlines()))
    return {name: Entry(State(*state), body, digest) for name, state, body, digest in entries}


def write(place: Path, entries: Mapping[str, Entry]) -> None:
    """Replace an index, at once; raises OSError if it cannot be written."""
    every = (json.dumps([name, *entry], separators=(",", ":")) for name, entry in entries.items())
    lines = "\n".join(every).encode()
    files.replace(place, _head(lines) + b"\n" + lines)


def _head(lines: bytes) -> bytes:
    return f"adatune_lite index {VERSION}.{SCHEMA} {hashlib.sha256(lines).hexdigest()}".encode()


def _entry(state: State, body: dict[str, Any]) -> Entry:
    series = body.pop("series")
    return Entry(state, body, digest_of(series[FULL]) if FULL in series else "")


def _exists(spec: RunSpec) -> bool:
    try:
        registry.declared(spec.function, spec.method, spec.optimizer)
    except SpecError:
        return False
    return True


def _is_record(name: str) -> bool:
    return name.endswith(".json") and ".conflict-" not in name and not name.startswith(".")


def _content(path: str) -> bytes:
    return files.content(path, MOST)
