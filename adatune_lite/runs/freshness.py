"""Which records the present code would make again, although its hash is another: what canaries have shown.

A canary is a small version of every kind of run of an experiment (see `Kind`). What it gave is kept as
data/canaries/EXPERIMENT.json, for each kind with the code hashes that gave the same; records made at any two
of them are as fresh as each other. This module reads and writes that file and asks it; `canary` and `rerun`
compute. Why a file and not a computation: a reader of records should not wait for runs.

Records older than the kinds carry a hash of all the code of their run function (`Canary.earlier`). It counts
for a kind as long as nobody has renewed that kind's digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatune_lite import files
from adatune_lite.runs.provenance import Kind

if TYPE_CHECKING:
    from adatune_lite.runs.record import Record
    from adatune_lite.runs.store import Store
    from adatune_lite.training.spec import RunSpec

SCHEMA = 2
SHORT = 16
"""Characters of a code hash that a canary keeps."""
Figures = dict[str, tuple[float, ...]]


class CanaryError(ValueError):
    """A canary is missing, damaged or not what the command that needs it can use."""


@dataclass(frozen=True)
class SmallRun:
    """What one small run gave."""

    spec: str
    """First 16 characters of the hash of its spec."""
    status: str
    figures: Figures
    """Series, final metrics and cost to the last digit, by name."""
    precision: str = "float64"


@dataclass(frozen=True)
class Evidence:
    """The canary of one kind of run: what its small runs gave, and by which code."""

    codes: tuple[str, ...]
    """Hashes of code (their first characters) that gave the same in the small runs and in a desk run; the
    first is the one that made the digits."""
    torch: str
    """Version of torch that made them."""
    runs: dict[str, SmallRun]
    provisional: tuple[str, ...] = ()
    """Hashes of code that gave the same in the small runs, while the desk run is still to be compared."""
    earlier: bool = False
    """Whether the codes count that records of this function had before there were kinds."""

    def knows(self, code: str) -> bool:
        """Whether code of this hash gave the same, as far as was tried."""
        return code[:SHORT] in (*self.codes, *self.provisional)


@dataclass(frozen=True)
class Canary:
    """The canary of one experiment."""

    experiment: str
    kinds: dict[Kind, Evidence]
    earlier: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By run function, hashes of all its code at which it came out equal before there were kinds."""
    unsorted: dict[str, Evidence] = field(default_factory=dict)
    """By run function, what a file of schema 1 holds: it does not say of which kind a small run is."""

    def with_evidence(self, kind: Kind, evidence: Evidence) -> Canary:
        """The same with one kind replaced or added."""
        return replace(self, kinds={**self.kinds, kind: evidence})

    def evidence(self, kind: Kind, names: Sequence[str]) -> Evidence | None:
        """What is kept of a kind whose small runs have these names; None: nothing."""
        if kind in self.kinds or kind.function not in self.unsorted:
            return self.kinds.get(kind)
        old = self.unsorted[kind.function]
        runs = {name: run for name, run in old.runs.items() if name in names}
        # Its codes are those of the whole function, which `earlier` holds.
        return replace(old, codes=(), runs=runs, earlier=True) if runs else None

    def accepts(self, kind: Kind, code: str, present: str) -> bool:
        """Whether records of a kind that were made by `code` hold for the code `present`."""
        held = self.kinds.get(kind)
        if held is None or not held.knows(present):
            return False
        return held.knows(code) or (held.earlier and code in self.earlier.get(kind.function, ()))

    def to_json(self) -> bytes:
        """The file: a line for each small run, so that a difference shows where it is."""
        kinds = []
        for kind, held in sorted(self.kinds.items()):
            runs = ",\n".join(f"  {json.dumps(name)}:{_dumps(run)}" for name, run in held.runs.items())
            head: dict[str, Any] = {"torch": held.torch, "codes": held.codes}
            if held.provisional:
                head["provisional"] = held.provisional
            if held.earlier:
                head["earlier"] = True
            kinds.append(f' {json.dumps(str(kind))}:{json.dumps(head)[:-1]}, "runs":{{\n{runs}\n }}}}')
        earlier = ",\n".join(
            f" {json.dumps(n)}:{json.dumps(codes)}" for n, codes in sorted(self.earlier.items())
        )
        head_line = f'"schema":{SCHEMA},"experiment":{json.dumps(self.experiment)}'
        body = f'{{{head_line},"earlier":{{\n{earlier}\n}},"kinds":{{\n' + ",\n".join(kinds) + "\n}}\n"
        return body.encode()

    @classmethod
    def from_json(cls, content: bytes) -> Canary:
        """Read one back, of this schema or of the first.

        Raises:
            CanaryError: it is damaged or of a newer schema.
        """
        try:
            body = json.loads(content)
            if body["schema"] > SCHEMA:
                raise CanaryError(f"it has schema {body['schema']}, this version knows up to {SCHEMA}")
            if body["schema"] == 1:
                old = {name: _evidence(part) for name, part in body["functions"].items()}
                earlier = {name: tuple(map(str, part["codes"])) for name, part in body["functions"].items()}
                return cls(str(body["experiment"]), {}, earlier, old)
            kinds = {Kind.parse(kind): _evidence(part) for kind, part in body["kinds"].items()}
            earlier = {name: tuple(map(str, codes)) for name, codes in body["earlier"].items()}
            return cls(str(body["experiment"]), kinds, earlier)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, CanaryError):
                raise
            raise CanaryError(f"it is damaged ({type(error).__name__}: {error})") from error


def path(experiment: str) -> Path:
    """Where the canary of an experiment is kept."""
    return Path(f"{files.project_root()}/data/canaries/{experiment}.json")


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


def equal_codes(experiment: str, kind: Kind, code: str, present: str) -> bool:
    """Whether the canary of an experiment says that both codes give the same numbers in a kind of run."""
    canary = read(experiment) if experiment else None
    return canary is not None and canary.accepts(kind, code, present)


def outstanding(experiment: str) -> str:
    """A sentence if code was accepted by small runs alone, and what to run; else empty.

    Raises:
        CanaryError: the canary cannot be used.
    """
    canary = read(experiment)
    functions = sorted({k.function for k, held in canary.kinds.items() if held.provisional}) if canary else []
    if not functions:
        return ""
    command = f"python -m adatune_lite canary {experiment.split('_')[0]} --accept"
    return (
        f"{experiment}: changed code of {', '.join(functions)} was accepted by small runs alone; before it "
        f"is merged `{command}` compares finished desk runs, too"
    )


class WithStale:
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


def _dumps(run: SmallRun) -> str:
    figures = {name: [_code(value) for value in values] for name, values in run.figures.items()}
    body: dict[str, Any] = {"spec": run.spec, "status": run.status}
    if run.precision != "float64":
        body["precision"] = run.precision
    return json.dumps({**body, "figures": figures}, allow_nan=False, separators=(",", ":"))


def _code(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _evidence(body: Mapping[str, Any]) -> Evidence:
    return Evidence(
        tuple(code[:SHORT] for code in map(str, body["codes"])),
        str(body["torch"]),
        {name: _run(run) for name, run in body["runs"].items()},
        tuple(map(str, body.get("provisional", ()))),
        bool(body.get("earlier", False)),
    )


def _run(body: Mapping[str, Any]) -> SmallRun:
    figures = {name: tuple(map(float, values)) for name, values in body["figures"].items()}
    return SmallRun(str(body["spec"]), str(body["status"]), figures, str(body.get("precision", "float64")))
