"""Which records the present code would make again, although its hash is another: what canaries have shown.

A canary is a small version of every kind of run of an experiment. What it gave is kept as
data/canaries/EXPERIMENT.json, for each run function with the code hashes at which it came out equal; records
made at any two of those hashes are as fresh as each other. This module reads and writes that file and asks
it; `canary` computes. Why a file and not a computation: a reader of records needs no torch and no seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite import files

if TYPE_CHECKING:
    from adatune_lite.runs.record import Record
    from adatune_lite.runs.store import Store
    from adatune_lite.training.spec import RunSpec

SCHEMA = 1
Figures = dict[str, tuple[float, ...]]


class CanaryError(ValueError):
    """A canary is missing, damaged or not what the command that needs it can use."""


@dataclass(frozen=True)
class Small:
    """What one small run gave."""

    spec: str
    """First 16 characters of the hash of its spec."""
    status: str
    figures: Figures
    """Series, final metrics and cost to the last digit, by name."""


@dataclass(frozen=True)
class Part:
    """The canary of one run function."""

    codes: tuple[str, ...]
    """Code hashes at which it came out equal; the first is the one at which it was made."""
    torch: str
    """Version of torch that made it."""
    runs: dict[str, Small]


@dataclass(frozen=True)
class Canary:
    """The canary of one experiment, by run function."""

    experiment: str
    parts: dict[str, Part]

    def with_part(self, function: str, part: Part) -> Canary:
        """The same with one part replaced or added."""
        return replace(self, parts={**self.parts, function: part})

    def to_json(self) -> bytes:
        """The file: a line for each small run, so that a difference shows where it is."""
        functions = []
        for name, part in sorted(self.parts.items()):
            runs = ",\n".join(f"  {json.dumps(run)}:{_dumps(small)}" for run, small in part.runs.items())
            head = f'"torch":{json.dumps(part.torch)},"codes":{json.dumps(part.codes)}'
            functions.append(f' {json.dumps(name)}:{{{head},"runs":{{\n{runs}\n }}}}')
        head = f'"schema":{SCHEMA},"experiment":{json.dumps(self.experiment)}'
        return (f'{{{head},"functions":{{\n' + ",\n".join(functions) + "\n}}\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Canary:
        """Read one back.

        Raises:
            CanaryError: it is damaged or of a newer schema.
        """
        try:
            body = json.loads(content)
            if body["schema"] > SCHEMA:
                raise CanaryError(f"it has schema {body['schema']}, this version knows up to {SCHEMA}")
            parts = {
                name: Part(
                    tuple(map(str, part["codes"])),
                    str(part["torch"]),
                    {run: _small(small) for run, small in part["runs"].items()},
                )
                for name, part in body["functions"].items()
            }
            return cls(str(body["experiment"]), parts)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, CanaryError):
                raise
            raise CanaryError(f"it is damaged ({type(error).__name__}: {error})") from error


def path(experiment: str) -> Path:
    """Where the canary of an experiment is kept."""
    return files.project_root() / "data" / "canaries" / f"{experiment}.json"


def read(experiment: str) -> Canary | None:
    """The canary kept for an experiment, or None.

    Raises:
        CanaryError: the file is damaged or of a newer schema: it says what to do.
    """
    place = path(experiment)
    try:
        state = place.stat()
    except OSError:
        return None
    return _read(place, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _read(place: Path, _changed: int, _size: int) -> Canary:
    # A store asks for each of its records: the file is parsed once for each time of change.
    try:
        return Canary.from_json(place.read_bytes())
    except (OSError, CanaryError) as error:
        raise CanaryError(
            f"the canary {place.name} cannot be used: {error}; restore it from the repository"
        ) from error


def write(canary: Canary) -> Path:
    """Replace the canary of its experiment, at once.

    Raises:
        OSError: the folder cannot be written; the old one stays.
    """
    place = path(canary.experiment)
    files.replace(place, canary.to_json())
    return place


def equal_codes(experiment: str, function: str, one: str, other: str) -> bool:
    """Whether the canary of an experiment came out equal at both code hashes of a run function."""
    canary = read(experiment) if experiment else None
    part = canary.parts.get(function) if canary else None
    return part is not None and one in part.codes and other in part.codes


class Shown:
    """A store for pages: of each run a stale record where there is no other, so that it can be marked.

    Not for planning work: `run` must see a stale record as missing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, spec: RunSpec, data: str | None = None) -> Record | None:
        """The record that is not stale, else the stale one, else None; see `Store.get`."""
        return self._store.get(spec, data=data) or self._store.get(spec, stale=True, data=data)

    def candidates(self, prefix: str) -> list[Record]:
        """See `Store.candidates`."""
        return self._store.candidates(prefix)


def _dumps(small: Small) -> str:
    figures = {name: [_code(value) for value in values] for name, values in small.figures.items()}
    body = {"spec": small.spec, "status": small.status, "figures": figures}
    return json.dumps(body, allow_nan=False, separators=(",", ":"))


def _code(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _small(body: Mapping[str, Any]) -> Small:
    figures = {name: tuple(map(float, values)) for name, values in body["figures"].items()}
    return Small(str(body["spec"]), str(body["status"]), figures)
