"""A folder of records: written whole or not at all, never overwritten, readable by many at once.

A record is ROOT/ab/abcdef0123456789-CODEHASH-cpu-float32.json: spec hash, code hash, kind of device and
precision; the folder is the first two characters. The checksum of the data completes its identity: a further
record of one name, on other data, has 8 digits of its checksum at the end. Writers of a shared folder need no
lock: a complete temporary file is linked to its final name, which succeeds for exactly one of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from adatune_lite import files
from adatune_lite.runs import provenance
from adatune_lite.runs.freshness import equal_codes
from adatune_lite.runs.index import Folder, folder
from adatune_lite.runs.provenance import Kind
from adatune_lite.runs.record import LIMIT, MOST, NewerSchema, Record, RecordError, impossible
from adatune_lite.tasks.spec import SpecError
from adatune_lite.training.spec import RunSpec

SMALL = ("smoke", "quick")
"""Profiles whose records are not kept under version control."""


class StoreError(OSError):
    """A store's folder cannot be written, or its disk is full."""

    def __str__(self) -> str:
        return str(self.args[0])


class Conflict(ValueError):
    """Two records of equal identity differ in what came out; both are kept."""


class Reader(Protocol):
    """What a plan needs of a store."""

    def get(self, spec: RunSpec) -> Record | None:
        """The record of a spec, if there is one."""


class Problem(NamedTuple):
    """A file of a store and what is wrong with it."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.what}"


class Store:
    """Records in `root`, which is written, and in the folders of `also`, which are only read."""

    def __init__(self, root: Path | str, also: Sequence[Path | str] = ()) -> None:
        self.root = Path(root)
        self.roots = tuple(dict.fromkeys((self.root, *map(Path, also))))

    def put(self, record: Record) -> Path:
        """Write a record; the same one again changes nothing.

        Raises:
            Conflict: a record of equal identity has another outcome: that one stays, this one lies beside it
                under another name.
            StoreError: the folder cannot be written or the disk is full: nothing is changed.
        """
        content = record.to_json()
        try:
            for _ in range(2):  # Another writer may take the name first, for other data.
                path = self.path(record)
                if files.create(path, content):
                    return path
            try:
                if self.holds(record):
                    return path
            except Conflict as error:
                name = f"{path.stem}.conflict-{_short(content)}.json"
                files.create(path.with_name(name), content)
                raise Conflict(f"{error}; the new one lies beside it as {name}") from None
            # A copy of the damaged file is kept; the sound one takes its place at once, so that another
            # writer that finds it damaged too can do no harm.
            damaged = files.content(path, MOST)
            files.create(path.with_name(f"{path.stem}.{_short(damaged)}.damaged"), damaged)
            files.replace(path, content)
            return path
        except OSError as error:
            raise self._unwritable(error) from error

    def holds(self, record: Record) -> bool:
        """Whether the root has an equal record; no, if it has none or a damaged one.

        Raises:
            Conflict: it has one of equal identity with another outcome, or of a newer schema, or what is no
                file stands in its place.
        """
        path = self.path(record)
        try:
            present = _read(path)
        except FileNotFoundError:
            if path.is_symlink():
                raise Conflict(f"{path.name} is there as a link that leads nowhere: remove it") from None
            return False
        except OSError as error:
            raise Conflict(f"{path.name} is there and is no record ({files.why(error)}): remove it") from None
        except NewerSchema as error:
            raise Conflict(f"{path.name} is there and was kept, but {error}") from None
        except RecordError:
            return False
        if present.identity != record.identity or present.content() != record.content():
            raise Conflict(
                f"{path.name} is there with another outcome and was kept: compare the two and remove one"
            )
        return True

    def check_writable(self) -> None:
        """Try the folder with a file of a record's size before anything is computed, and sweep it.

        What writers that were stopped left behind long ago is removed.

        Raises:
            StoreError: it cannot be written or the disk is full.
        """
        try:
            with files.written_beside(self.root / "probe", b" " * LIMIT):
                pass
        except OSError as error:
            raise self._unwritable(error) from error
        for place in (self.root, *self.root.glob("??")):
            files.sweep(place)

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot write to {self.root} ({files.why(error)}): make room there or choose another folder"
        )

    def path(self, record: Record) -> Path:
        """Where a record belongs: under its longer name beside one that differs in its data alone."""
        folder = self.root / record.name[:2]
        plain, longer = folder / f"{record.name}.json", folder / f"{record.longer_name}.json"
        if longer.exists():
            return longer
        try:
            present = _read(plain)
        except (OSError, RecordError):
            return plain
        other_data = replace(present, provenance=record.provenance)
        alike = other_data.identity == record.identity
        return longer if alike and present.identity != record.identity else plain

    def get(self, spec: RunSpec, stale: bool = False, data: str | None = None) -> Record | None:
        """The newest sound record of a spec, one on verified data before all others, or None.

        Args:
            stale: one made by other code, too.
            data: only on data of this checksum.
        """
        return self.find(spec.hash, stale, data)

    def find(self, spec_hash: str, stale: bool = False, data: str | None = None) -> Record | None:
        """As `get`, by the hash of the spec."""
        return preferred(
            r
            for r in self.candidates(spec_hash)
            if (stale or not is_stale(r)) and data in (None, r.data_checksum)
        )

    def candidates(self, prefix: str) -> list[Record]:
        """All sound records whose spec hash begins with `prefix` (2 characters at least)."""
        found = (record for record in self._sound(prefix) if record.spec.hash.startswith(prefix))
        return list(found)

    def records(self, experiment: str | None = None, profile: str | None = None) -> Iterator[Record]:
        """All sound records, or those made for an experiment or profile; the stale ones among them."""
        wanted = {"experiment": experiment, "profile": profile}
        for record in self._sound():
            if all(v is None or record.labels.get(name) == v for name, v in wanted.items()):
                yield record

    def paths(self) -> Iterator[Path]:
        """The files of all records; conflicting ones and temporary files are none."""
        for root, held in self._folders():
            yield from (root / name for name in held.names())

    def unreadable(self) -> list[Problem]:
        """Files of records that count as not there, with the reason: damaged ones, or of unknown methods."""
        problems: list[Problem] = []
        for _ in self._sound(problems=problems):
            pass
        return problems

    def left_behind(self) -> list[Path]:
        """Files that writers have not finished, or left behind when they were stopped: harmless."""
        folders = (folder for root in self.roots for folder in (root, *sorted(root.glob("??"))))
        return [path for folder in folders for path in files.temporary(folder)]

    def verify(self) -> Iterator[Problem]:
        """Everything wrong with the files of the store, the sound ones left out."""
        content: dict[tuple[str, ...], tuple[Path, Record]] = {}
        for root in self.roots:
            for path in sorted(root.glob("??/*")):
                if files.TEMPORARY.fullmatch(path.name):
                    continue  # See `left_behind`.
                if ".conflict-" in path.name:
                    yield Problem(path, "has the identity of another record and another outcome: remove one")
                elif path.suffix == ".damaged":
                    yield Problem(path, "a damaged record that was computed again; it can be removed")
                elif path.suffix != ".json":
                    yield Problem(path, "is no record")
                else:
                    yield from self._problems(path, content)
            for path in sorted({*root.rglob("*.json")} - {*root.glob("??/*.json")}):
                yield Problem(path, "lies where no reader looks for records: move it away and merge it")

    def _problems(self, path: Path, seen: dict[tuple[str, ...], tuple[Path, Record]]) -> Iterator[Problem]:
        try:
            record = _read(path)
        except (RecordError, OSError) as error:
            yield Problem(path, _reason(error))
            return
        if path.stem not in (record.name, record.longer_name) or path.parent.name != record.name[:2]:
            yield Problem(path, f"its content belongs under the name {record.name}.json")
        for what in impossible(record):
            yield Problem(path, what)
        first, other = seen.setdefault(record.identity, (path, record))
        if other.content() != record.content():
            yield Problem(path, f"has the identity of {first.parent / first.name} and another outcome")

    def _sound(self, prefix: str = "", problems: list[Problem] | None = None) -> Iterator[Record]:
        # A damaged record counts as not there, so that it is computed again beside the others; `verify`
        # names it. Conflicting ones are nobody's answer until one of them is removed. One of a newer schema
        # stops every reader: computed again it would waste hours, ignored it would change figures.
        for root, held in self._folders():
            for name in held.names(prefix):
                try:
                    yield held.record(name)
                except NewerSchema as error:
                    raise NewerSchema(f"{root / name}: {error}") from None
                except (RecordError, OSError) as error:
                    if problems is not None:
                        problems.append(Problem(root / name, _reason(error)))

    def _folders(self) -> Iterator[tuple[Path, Folder]]:
        return ((root, folder(os.path.abspath(root))) for root in self.roots)


def _read(path: Path) -> Record:
    return Record.from_json(files.content(path, MOST))


def _reason(error: Exception) -> str:
    return f"it cannot be read ({files.why(error)})" if isinstance(error, OSError) else str(error)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def is_stale(record: Record) -> bool:
    """Whether the code that decides the record's numbers has changed since, and no canary says it is equal.

    Raises:
        CanaryError: the canary of the record's experiment is needed and damaged.
    """
    kind = Kind.of(record.spec)
    try:
        present = provenance.code_hash(kind)
    except (SpecError, KeyError):
        return True  # There is no such method any more, or no such network.
    experiment = record.labels.get("experiment", "")
    return record.code != present and not equal_codes(experiment, kind, record.code, present)


def preferred(records: Iterable[Record]) -> Record | None:
    """Of those on verified data, else of all, the record that was started last."""
    return max(records, key=lambda r: (r.verified, str(r.provenance.get("start", ""))), default=None)


def stores_for(profile: str, out: Path | str | None = None) -> Store:
    """The store that a profile writes to, reading what else serves it.

    smoke and quick write to the scratch store and also read the committed one; desk and paper write to and
    read the committed one alone, so that a clone has everything. `out` is written instead, and the
    committed store is then read as well: another machine computes only what is missing.
    """
    committed, scratch = files.committed_folder(), files.scratch_folder() / "runs"
    if profile in SMALL:
        return Store(out or scratch, (scratch, committed))
    return Store(out or committed, (committed,))
