"""What a run leaves behind, and its file: strict JSON, one small file a run.

Why JSON: a record can be read, compared and reviewed line by line with the tools that every reader has,
it needs no library and nothing in it is ever executed or unpickled. Floats are written with the shortest
digits that give back the same float64, so nothing is lost where precision matters. JSON has no number for
what is not finite: those stand as the strings "nan", "inf" and "-inf".

Size: at most 20 KB a run. The series "lr" is the schedule, which other runs replay: with detail "full" it is
kept whole and exact. Every other series is rounded to 9 significant digits and, if longer than 128 points,
thinned to 128 evenly spaced ones with the first and the last among them; detail "summary" thins every
series, lr included, to 64. If that is still too large, the series other than a full lr are thinned to 64 and
then to 32 points. A schedule so long that it alone exceeds the limit is kept all the same, and so is every
point of what was observed as often as the spec says.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from adatune_lite.tasks.spec import is_plain, is_text, is_whole, shown
from adatune_lite.training import registry
from adatune_lite.training.outcome import Floats, Outcome, Series
from adatune_lite.training.spec import RunSpec

SCHEMA = 1
LIMIT = 20_000
"""Bytes of a record's file."""
MOST = 16 * 2**20
"""Bytes of the largest file that is read as a record; a long exact schedule may exceed `LIMIT`."""
FULL = "lr"
"""The series that is kept exactly."""

Stored = Mapping[str, dict[str, list[Any]]]

_NOT_FINITE = ("nan", "inf", "-inf")
"""How numbers stand in a file for which JSON has none."""


def _is_number(value: object) -> bool:
    return value in _NOT_FINITE if isinstance(value, str) else is_plain(value) and not isinstance(value, bool)


def _are_numbers(values: object) -> bool:
    if not isinstance(values, list):
        return False
    # Thousands of numbers, nearly all of them finite floats: 1e999 has no digest.
    if set(map(type, values)) <= {float, int, str}:
        return all(map(_is_number, {value for value in values if type(value) is not float}))
    return False


def _are_steps(values: object) -> bool:
    return (
        isinstance(values, list)
        and set(map(type, values)) <= {int}
        and (not values or (is_whole(min(values)) and is_whole(max(values))))
    )


def _named(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda part: isinstance(part, dict) and all(map(holds, part.values()))


def _is_series(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and _are_numbers(entry.get("values"))
        and (
            "steps" not in entry
            or (_are_steps(entry["steps"]) and len(entry["steps"]) == len(entry["values"]))
        )
    )


def _are_labels(part: object) -> bool:
    # The experiment names a file, and all of them stand in tables.
    return (
        isinstance(part, dict)
        and all(isinstance(label, str) and label.isprintable() for label in part.values())
        and all(re.fullmatch(r"[\w.-]*", part.get(name, "")) for name in ("experiment", "profile"))
    )


def _are_facts(part: object) -> bool:
    return (
        isinstance(part, dict)
        and all(fact is None or is_plain(fact) for fact in part.values())
        and is_whole(part.get("peak_memory", 0))
    )


def _is_flat(value: object, depth: int = 3) -> bool:
    """Whether it is plain values, in lists or by name, in so few layers that nobody who asks further
    gets lost."""
    if isinstance(value, dict | list) and depth:
        inner = value.values() if isinstance(value, dict) else value
        return all(_is_flat(each, depth - 1) for each in inner)
    return is_plain(value)


_PARTS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "spec_hash": ("text", is_text),
    "code_hash": ("text", is_text),
    "device": ("text", is_text),
    "precision": ("text", is_text),
    "spec": ("plain values by name", lambda part: isinstance(part, dict) and _is_flat(part)),
    "labels": ("printable text by name", _are_labels),
    "status": ("finished, stopped by budget or diverged at step s", lambda part: is_status(part)),
    "notes": ("text", is_text),
    "metrics": ("numbers by name", _named(_is_number)),
    "cost": ("numbers by name", _named(_is_number)),
    "series": ("lists of numbers by name, of as many rising steps", _named(_is_series)),
    "provenance": ("plain values by name", _are_facts),
}
"""What the parts of a file hold, in words, and the question; what a spec may say, it checks itself."""


class RecordError(ValueError):
    """A record is damaged, of a newer schema, or holds what cannot be."""


class NewerSchema(RecordError):
    """A record of a later version of this library: sound, as far as this one can tell."""


@dataclass(frozen=True)
class Record:
    """One run: what was asked, what came out, how it came about. Never changed once written."""

    spec: RunSpec
    code: str
    """Hash of the modules that decide the numbers, see `provenance.code_hash`."""
    device: str
    """Kind of device: "cpu" or "cuda"."""
    labels: dict[str, str]
    """Experiment, profile, role: how the run was asked for; outside its identity."""
    status: str
    stored: Stored
    """Series as they stand in the file."""
    metrics: dict[str, float]
    cost: dict[str, float]
    provenance: dict[str, Any]
    notes: str = ""

    @classmethod
    def of(
        cls,
        spec: RunSpec,
        outcome: Outcome,
        *,
        code: str,
        device: str,
        labels: Mapping[str, str] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Record:
        """The record of an outcome, its series thinned to the limit (see the module).

        Raises:
            RecordError: a status or a series that a record cannot hold.
        """
        if not is_status(outcome.status):
            raise RecordError(
                f"a run's status is finished, stopped by budget or diverged at step s, not {outcome.status!r}"
            )
        series = {name: _plain(name, values) for name, values in outcome.series.items()}
        stored: dict[str, dict[str, list[Any]]] = {}
        record = cls(
            spec=spec,
            code=code,
            device=device,
            labels=dict(labels or {}),
            status=outcome.status,
            stored=stored,
            metrics={name: float(value) for name, value in outcome.metrics.items()},
            cost={name: float(value) for name, value in outcome.cost.items()},
            provenance=dict(provenance or {}),
            notes=outcome.notes,
        )
        observed = {n for n, s in outcome.series.items() if isinstance(s, Series) and s.whole}
        for points in (128, 64, 32) if spec.detail == "full" else (64, 32):
            for name, (steps, values) in series.items():
                exact = name == FULL and spec.detail == "full"
                most = len(values) if exact or name in observed else points
                stored[name] = _stored(steps, values, most, exact)
            if len(record.to_json()) <= LIMIT:
                break
        return record

    @property
    def precision(self) -> str:
        """Floating point type of the run."""
        return self.spec.precision

    @property
    def data_checksum(self) -> str:
        """Of the pixels and labels that it was made from; empty in a record that does not say."""
        return str(self.provenance.get("data_checksum", ""))

    @property
    def verified(self) -> bool:
        """Whether it was made from data as they are published."""
        return self.provenance.get("data_verified") is True

    @property
    def identity(self) -> tuple[str, str, str, str, str]:
        """(spec hash, code hash, data checksum, device kind, precision): equal ones have equal content."""
        return self.spec.hash, self.code, self.data_checksum, self.device, self.precision

    @property
    def name(self) -> str:
        """File name without its ending, unless a record on other data has it already."""
        return f"{self.spec.hash[:16]}-{self.code[:8]}-{self.device}-{self.precision}"

    @property
    def longer_name(self) -> str:
        """File name without its ending beside a record that differs from this one in its data alone."""
        return f"{self.name}-{data_digits(self.data_checksum)}"

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.status == "finished"

    @property
    def diverged(self) -> bool:
        """Whether the run blew up: a result, not a failure."""
        return self.status.startswith("diverged")

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps int64 [n], values float64 [n]) of a series.

        Raises:
            KeyError: there is no series of that name; the message lists those there are.
        """
        if name not in self.stored:
            raise KeyError(self._lacks(name))
        entry = self.stored[name]
        values = _values(entry)
        return np.array(entry.get("steps", range(len(values))), np.int64), values

    def _lacks(self, name: str) -> str:
        return f"run {self.spec.hash[:16]} has no series {name!r}; it has {', '.join(self.stored)}"

    def digest(self) -> str:
        """Digest of the schedule's digits, for `RunSpec.source_digest`."""
        return self._schedule_digest

    @cached_property
    def _schedule_digest(self) -> str:
        if FULL not in self.stored:
            raise KeyError(self._lacks(FULL))
        return digest_of(self.stored[FULL])

    def content(self) -> tuple[str, Stored, dict[str, Any]]:
        """What must be equal in records of equal identity."""
        return self.status, self.stored, _coded(self.metrics)

    def to_json(self) -> bytes:
        """The file: one line for each entry of each part, so that a difference shows where it is."""
        body = {
            "schema": SCHEMA,
            "spec_hash": self.spec.hash,
            "code_hash": self.code,
            "device": self.device,
            "precision": self.precision,
            "spec": self.spec.canonical(),
            "labels": self.labels,
            "status": self.status,
            "notes": self.notes,
            "metrics": _coded(self.metrics),
            "cost": _coded(self.cost),
            "series": dict(self.stored),
            "provenance": self.provenance,
        }
        body["digest"] = _digest(body)
        lines = []
        for key, value in body.items():
            if isinstance(value, dict) and value:
                inner = ",\n".join(f"  {json.dumps(k)}: {_dumps(v)}" for k, v in value.items())
                lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
            else:
                lines.append(f" {json.dumps(key)}: {_dumps(value)}")
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Record:
        """Read a record back.

        Raises:
            NewerSchema: it was written by a later version.
            RecordError: not strict JSON, or content that does not match its own digests.
        """
        body = checked(content)
        return cls.from_body(body, body["series"])

    @classmethod
    def from_body(cls, body: Mapping[str, Any], series: Stored, digest: str = "") -> Record:
        """The record of a `checked` body, and of its series, which may be read when they are asked for.

        digest: what `digest` gives, if it is known.

        Raises:
            RecordError: there is no such run any more, or its hash is another.
        """
        try:
            spec = RunSpec.from_dict(body["spec"])
            if (spec.hash, spec.precision) != (body["spec_hash"], body["precision"]):
                raise RecordError("its spec does not match its spec hash")
            record = cls(
                spec=spec,
                code=body["code_hash"],
                device=body["device"],
                labels=body["labels"],
                status=body["status"],
                stored=series,
                metrics={name: float(value) for name, value in body["metrics"].items()},
                cost={name: float(value) for name, value in body["cost"].items()},
                provenance=body["provenance"],
                notes=body["notes"],
            )
            if digest:
                vars(record)["_schedule_digest"] = digest
            return record
        except RecordError:
            raise
        except KeyError as error:
            raise RecordError(f"it lacks {error}") from error
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise RecordError(f"it holds what a record cannot hold ({error})") from error


def digest_of(series: Mapping[str, list[Any]]) -> str:
    """Digest of the digits of a series as it stands in a file."""
    return hashlib.sha256(_values(series).astype("<f8").tobytes()).hexdigest()[:16]


def checked(content: bytes) -> dict[str, Any]:
    """What a record's file says, as it was written; whether its spec makes sense here is not asked.

    Raises:
        NewerSchema: it was written by a later version.
        RecordError: not strict JSON, or content that does not match its digest.
    """
    try:
        # Not as `json` reads bytes, which lets halves of surrogate pairs through.
        body = json.loads(content.decode(), parse_constant=_refuse_constant, object_pairs_hook=_once)
        if b"\\u" in content:
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RecordError(f"it is not JSON ({error})") from error
    if not isinstance(body, dict) or type(body.get("schema")) is not int:
        raise RecordError("it is not a record")
    if body["schema"] > SCHEMA:
        raise NewerSchema(
            f"it has schema {body['schema']}, this version knows up to {SCHEMA}: update adatune_lite"
        )
    try:
        digest = body.pop("digest")
        if digest != _digest(body):
            raise RecordError("its content does not match its digest: it was changed or damaged")
        body["digest"] = digest
        for name, (what, holds) in _PARTS.items():
            if not holds(body[name]):
                raise RecordError(
                    f"it holds what a record cannot hold ({name} must be {what}, not {shown(body[name])})"
                )
    except KeyError as error:
        raise RecordError(f"it lacks {error}") from error
    except RecordError:
        raise
    except (ValueError, RecursionError) as error:  # 1e999, or layers that can be read but not written.
        raise RecordError(f"it holds what a record cannot hold ({error})") from error
    return body


def data_digits(checksum: str) -> str:
    """8 hexadecimal digits for a data set's checksum, which names each of its parts."""
    return hashlib.sha256(checksum.encode()).hexdigest()[:8]


def is_status(text: object) -> bool:
    """Whether a run can have ended so."""
    return isinstance(text, str) and bool(
        re.fullmatch("finished|stopped by budget|diverged at step [0-9]{1,18}", text)
    )


def impossible(record: Record) -> Iterator[str]:
    """What cannot be in a sound record, one sentence each."""
    if record.diverged and int(record.status.split()[-1]) > record.spec.steps:
        yield f"it {record.status} of {record.spec.steps}"
    if not re.fullmatch("[0-9a-f]{64}", record.code):
        yield f"its code hash is {record.code[:20]!r}, not 64 hexadecimal digits"
    if record.device not in ("cpu", "cuda"):
        yield f"unknown kind of device {record.device!r}"
    for name, value in record.cost.items():
        if not (math.isfinite(value) and value >= 0):
            yield f"cost {name} is {value}"
    for name in record.stored:
        steps, values = record.series(name)
        if (np.diff(steps) <= 0).any() or (steps < 0).any():
            yield f"series {name} has steps that do not rise"
        if name == FULL and len(steps) and steps[-1] >= record.spec.steps:
            yield f"it has a learning rate at step {steps[-1]} of {record.spec.steps}"
        below_zero = registry.method(record.spec.method).below_zero
        lowest = -np.inf if below_zero and below_zero(record.spec) else 0.0
        if record.finished and name == FULL and not (np.isfinite(values) & (values >= lowest)).all():
            yield "a finished run has a learning rate that is negative or not finite"
    if record.finished and any(not math.isfinite(value) for value in record.metrics.values()):
        yield "a finished run has a metric that is not finite"
    for name, value in record.metrics.items():
        if name.endswith("accuracy") and not (0 <= value <= 100 or math.isnan(value)):
            yield f"metric {name} is {value}, outside 0 to 100 %"


def _plain(name: str, series: Floats | Series) -> tuple[np.ndarray | None, np.ndarray]:
    steps, values = (series.steps, series.values) if isinstance(series, Series) else (None, series)
    detach = getattr(values, "detach", None)  # A tensor, of which this module need not know more.
    array = np.asarray(detach().cpu().double().numpy() if detach else values, np.float64)
    if array.ndim != 1:
        raise RecordError(f"series {name} must have one axis, not shape {array.shape}")
    if steps is None:
        return None, array
    positions = np.asarray(steps, np.int64)
    if positions.shape != array.shape:
        raise RecordError(f"series {name} has {len(array)} values at {positions.size} steps")
    return positions, array


def _stored(steps: np.ndarray | None, values: np.ndarray, most: int, exact: bool) -> dict[str, list[Any]]:
    if len(values) > most:
        chosen = np.linspace(0, len(values) - 1, most).round().astype(np.int64)
        steps = chosen if steps is None else steps[chosen]
        values = values[chosen]
    kept, digits = values.tolist(), 17 if exact else 9
    entry: dict[str, list[Any]] = {} if steps is None else {"steps": steps.tolist()}
    entry["values"] = [_code(float(f"{value:.{digits}g}")) for value in kept]
    return entry


def _values(series: Mapping[str, list[Any]]) -> np.ndarray:
    return np.array([float(value) for value in series["values"]], np.float64)


def _code(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _coded(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: _code(value) for name, value in values.items()}


def _dumps(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _digest(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in it")
    return found


def _refuse_constant(token: str) -> float:
    raise ValueError(f"the token {token} is not JSON")
