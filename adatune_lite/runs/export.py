"""Records as plain tables, for whoever does not use this library: CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from adatune_lite import files
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import is_stale

FORMATS = (".csv", ".parquet")

FACTS = (
    "version",
    "commit",
    "dirty",
    "python",
    "torch",
    "cuda",
    "driver",
    "device_name",
    "threads",
    "deterministic",
    "data_source",
    "data_verified",
    "start",
    "peak_memory",
)
"""What is exported of a record's provenance."""

KEY = ("spec_hash", "code_hash", "data_checksum", "device", "precision")
"""Columns that name a record, in both tables."""

Columns = dict[str, list[Any]]


class ExportError(ValueError):
    """A table that cannot be written so."""


def check(path: Path) -> None:
    """Refuse a file that `write` could not write, before anything is read.

    Raises:
        ExportError: the ending is neither .csv nor .parquet, or pyarrow is missing for .parquet.
    """
    if path.suffix not in FORMATS:
        raise ExportError(f"{path} must end in .csv or .parquet")
    if path.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise ExportError(
                "Parquet needs pyarrow, which is not installed: install it or name a file that ends in .csv"
            ) from None


def unique(records: Iterable[Record]) -> list[Record]:
    """Each identity once, the first of them."""
    found: dict[tuple[str, ...], Record] = {}
    for record in records:
        found.setdefault(record.identity, record)
    return list(found.values())


def runs_table(records: Iterable[Record]) -> Columns:
    """One row a run: identity, what was asked, what came out, its cost and where it came from.

    Settings, metrics and costs have a column each, with a prefix; None where a run has no such thing.
    Accuracies are percent, seconds wall time, peak memory bytes.
    """
    rows = [_groups(record) for record in records]
    columns: Columns = {}
    for place in range(len(rows[0]) if rows else 0):
        for name in dict.fromkeys(name for row in rows for name in row[place]):
            columns[name] = [row[place].get(name) for row in rows]
    return columns


def series_table(records: Iterable[Record]) -> Columns:
    """One row a point: the run's `KEY`, the name of the series, step, value. Long series are thinned."""
    columns: Columns = {name: [] for name in (*KEY, "series", "step", "value")}
    for record in records:
        for series in record.stored:
            steps, values = record.series(series)
            columns["step"] += steps.tolist()
            columns["value"] += values.tolist()
            for name, cell in zip((*KEY, "series"), (*record.identity, series), strict=True):
                columns[name] += [cell] * len(steps)
    return columns


def write(path: Path, columns: Columns) -> None:
    """Write a table at once; the ending says in which format.

    Raises:
        ExportError: see `check`.
        OSError: the folder cannot be written or the disk is full; the file is as before.
    """
    check(path)
    typed = {name: _of_one_type(values) for name, values in columns.items()}
    files.replace(path, _csv(typed) if path.suffix == ".csv" else _parquet(typed))


def _groups(record: Record) -> list[dict[str, Any]]:
    """The cells of a row in groups that stay together; names repeat in no other group."""
    spec = record.spec
    return [
        {**dict(zip(KEY, record.identity, strict=True)), "stale": is_stale(record)},
        {name: record.labels.get(name) for name in ("experiment", "profile", "role")},
        {f.name: getattr(spec, f.name) for f in fields(spec) if f.name not in _NESTED},
        {f"task_{f.name}": _plain(getattr(spec.task, f.name)) for f in fields(spec.task)},
        {f"setting_{name}": value for name, value in spec.settings},
        {f"optimizer_{name}": value for name, value in spec.optimizer_settings},
        {"status": record.status, "notes": record.notes},
        {f"metric_{name}": value for name, value in record.metrics.items()},
        {f"cost_{name}": value for name, value in record.cost.items()},
        {name: record.provenance.get(name) for name in FACTS},
    ]


_NESTED = ("task", "settings", "optimizer_settings", "precision")
"""Fields of a spec that are flattened or stand in another group."""


def _plain(value: Any) -> Any:
    return "x".join(map(str, value)) if isinstance(value, tuple) else value


def _of_one_type(values: list[Any]) -> list[Any]:
    """The values as they are, or as text if they are of several kinds ("adaptive" beside 0.9)."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1:
        return values
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def _csv(columns: Columns) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(_rows(columns))
    return text.getvalue().encode()


def _rows(columns: Columns) -> Iterator[tuple[Any, ...]]:
    return zip(*columns.values(), strict=True)


def _parquet(columns: Columns) -> bytes:
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()
