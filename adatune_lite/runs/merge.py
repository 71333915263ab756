"""Records from another machine, taken into a store after a check."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from adatune_lite import checkpoint, files
from adatune_lite.runs.pack import PART, PackError, members
from adatune_lite.runs.record import MOST, Record, RecordError, impossible
from adatune_lite.runs.store import Conflict, Store, is_stale

CHECKPOINTS = 2 * 2**30
"""Bytes of all checkpoints that one merge takes: a small pack can hold huge ones."""
_CHECKPOINT = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z_-]{0,219}\.pt")
"""The name of a checkpoint, which leads nowhere and which every file system takes."""


class MergeError(ValueError):
    """There is nothing to merge."""


class Incoming(NamedTuple):
    """A record and where it came from."""

    name: str
    record: Record


@dataclass
class Merged:
    """What a merge did."""

    new: list[Record] = field(default_factory=list)
    present: int = 0
    """Records that were there already."""
    checkpoints: int = 0
    """Checkpoints of runs under way that were taken."""
    refused: list[str] = field(default_factory=list)
    """One sentence for each reason; what was refused is left where it is."""

    @property
    def stale(self) -> int:
        """New records made by other code than this."""
        return sum(is_stale(record) for record in self.new)


def merge(source: Path, target: Callable[[Record], Store]) -> Merged:
    """Take the records of a folder, or of packs, that are sound and new.

    Each is checked before it is written: strict JSON of a known schema, its digest and its hashes, no
    impossible values, no other outcome than a record of equal identity here or among the others. What fails
    is named and left where it is; nothing is overwritten. The same merge again changes nothing. A checkpoint
    in a pack is taken where there is none of its run: the run goes on here, on the same kind of device.

    Args:
        source: a folder with records or packs at any depth, or one pack.
        target: the store into which a record belongs.

    Raises:
        MergeError: `source` is not there or holds neither records nor packs.
        StoreError: a store cannot be written; what was merged before stays.
    """
    done = Merged()
    reasons: dict[str, list[str]] = defaultdict(list)
    by_identity: dict[tuple[str, ...], list[Incoming]] = defaultdict(list)
    room = CHECKPOINTS
    parts: dict[tuple[str, ...], dict[int, bytes]] = defaultdict(dict)
    for name, content in _contents(source, reasons):
        inside = name.partition(" in ")[0]
        part = PART.fullmatch(inside)
        if part or inside.endswith(".pt"):
            if not _CHECKPOINT.fullmatch(part["name"] if part else inside):
                reasons["this is no name of a checkpoint"].append(name)
            elif len(content) > room:
                reasons[f"one merge takes {CHECKPOINTS / 2**30:g} GiB of checkpoints"].append(name)
            else:
                room -= len(content)
                if part:
                    parts[part["name"], part["digest"], part["count"]][int(part["place"])] = content
                else:
                    _take_checkpoint(name, content, done, reasons)
            continue
        try:
            record = Record.from_json(content)
        except RecordError as error:
            reasons[str(error)].append(name)
            continue
        wrong = next(impossible(record), None)
        if wrong:
            reasons[wrong].append(name)
        else:
            by_identity[record.identity].append(Incoming(name, record))
    for (name, _, count), held in parts.items():
        if len(held) == int(count) and sorted(held) == list(range(1, len(held) + 1)):
            _take_checkpoint(name, b"".join(held[place] for place in sorted(held)), done, reasons)
        else:
            reasons["parts of this checkpoint are missing: bring all packs"].append(name)
    for alike in by_identity.values():
        first = alike[0]
        differing = next((i for i in alike if i.record.content() != first.record.content()), None)
        if differing:
            done.refused.append(
                f"{first.name} and {differing.name} have one identity and two outcomes: "
                "neither was taken; remove one"
            )
            continue
        store = target(first.record)
        try:
            if store.holds(first.record):
                done.present += 1
            else:
                store.put(first.record)
                done.new.append(first.record)
        except Conflict as error:
            done.refused.append(f"{first.name}: {error}")
    done.refused += [f"{_some(names)}: {why}" for why, names in reasons.items()]
    return done


def _take_checkpoint(name: str, content: bytes, done: Merged, reasons: dict[str, list[str]]) -> None:
    if not checkpoint.is_whole(content):
        reasons["this checkpoint is damaged"].append(name)
        return
    try:
        done.checkpoints += files.create(checkpoint.folder() / name.partition(" in ")[0], content)
    except OSError as error:
        reasons[f"this checkpoint cannot be written ({files.why(error)})"].append(name)


def _contents(source: Path, reasons: dict[str, list[str]]) -> Iterator[tuple[str, bytes]]:
    """(where it lies, content) of each file that may be a record; packs that are none go into `reasons`."""
    if not source.exists():
        raise MergeError(f"{source} is not there: name a folder of records or packs")
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]
    inside = [(path, path.relative_to(source).parts) for path in paths]
    # Hidden ones are what a writer that was stopped left behind.
    wanted = [
        p
        for p, parts in inside
        if p.suffix in (".json", ".zip") and not p.is_dir() and not any(x[0] == "." for x in parts)
    ]
    if not wanted:
        raise MergeError(f"{source} holds no records (.json) and no packs (.zip)")
    for path in wanted:
        if path.suffix == ".json":
            try:
                content = files.content(path, MOST)
            except OSError as error:
                reasons[f"it cannot be read ({files.why(error)})"].append(path.name)
            else:
                yield path.name, content
            continue

        def wrong(error: PackError, pack: str = path.name) -> None:
            reasons[str(error)].append(pack)

        try:
            for name, content in members(path, wrong):
                yield f"{name} in {path.name}", content
        except PackError as error:
            wrong(error)


def _some(names: list[str]) -> str:
    first = names[0] if len(names[0]) <= 100 else f"{names[0][:97]}..."
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"
