"""Tables for everyone else: complete, of one type a column, to the last digit."""

from __future__ import annotations

import csv
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pytest

from adatune_lite.__main__ import main
from adatune_lite.runs.export import ExportError, check, runs_table, series_table, unique, write
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.tasks.spec import Value
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.spec import RunSpec


def made(seed: int, method: str = "marthe", status: str = "finished", **settings: Value) -> Record:
    spec = RunSpec("training", fake_runs.TASK, method, 4, seed, tuple(settings.items()))
    loss = Series([0.1 + seed, 1 / 3], [0, 3])
    metrics = {"test_loss": 1 / 3} if status == "finished" else {"test_loss": float("nan")}
    outcome = Outcome(status, {"lr": [0.1, 0.2, 0.3, 1e-300], "loss": loss}, metrics, {"seconds": 2.0})
    labels = {"experiment": "99_fake", "profile": "desk", "role": "report"}
    facts = {"commit": "abc", "dirty": False, "peak_memory": 10**9, "start": "2026-01-01"}
    return Record.of(spec, outcome, code="c" * 64, device="cpu", labels=labels, provenance=facts)


RECORDS = [made(0, mu=0.9, lr=0.1), made(1, mu="adaptive", lr=1), made(2, "constant", "diverged at step 2")]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_a_run_with_everything_in_it() -> None:
    columns = runs_table(RECORDS)
    assert columns["spec_hash"] == [record.spec.hash for record in RECORDS]
    assert columns["setting_mu"] == [0.9, "adaptive", None]
    assert columns["status"] == ["finished", "finished", "diverged at step 2"]
    assert columns["stale"] == [True] * 3
    assert columns["task_hidden"] == ["500x500"] * 3 and columns["task_dataset"] == ["mnist5k"] * 3
    assert columns["cost_seconds"] == [2.0] * 3 and columns["commit"] == ["abc"] * 3
    wanted = {f.name for f in dataclasses.fields(RunSpec)} - {"task", "settings", "optimizer_settings"}
    assert wanted <= set(columns)
    assert {len(values) for values in columns.values()} == {3}


def test_csv_keeps_the_digits_and_says_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    write(tmp_path / "runs.csv", runs_table(RECORDS))
    first, second, last = rows(tmp_path / "runs.csv")
    assert float(first["metric_test_loss"]) == 1 / 3 and last["metric_test_loss"] == "nan"
    assert (first["setting_mu"], second["setting_mu"], last["setting_mu"]) == ("0.9", "adaptive", "")
    assert (first["setting_lr"], second["setting_lr"]) == ("0.1", "1.0"), "one type"


def test_series_are_long(tmp_path: Path) -> None:
    write(tmp_path / "points.csv", series_table(RECORDS[:2]))
    points = rows(tmp_path / "points.csv")
    assert len(points) == 2 * (4 + 2)
    assert [p["value"] for p in points[:4]] == ["0.1", "0.2", "0.3", "1e-300"]
    chosen = [(p["step"], float(p["value"])) for p in points if p["series"] == "loss"]
    assert chosen[:2] == [("0", 0.1), ("3", pytest.approx(1 / 3, rel=1e-8))]
    assert points[-1]["spec_hash"] == RECORDS[1].spec.hash


def test_parquet_holds_the_same_with_types(tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    columns = runs_table(RECORDS)
    write(tmp_path / "runs.parquet", columns)
    table = parquet.read_table(tmp_path / "runs.parquet")
    assert table.column_names == list(columns)
    types = {name: str(table.schema.field(name).type) for name in columns}
    assert types["seed"] == "int64" and types["stale"] == "bool" and types["metric_test_loss"] == "double"
    assert types["setting_mu"] == "string" and types["setting_lr"] == "double"
    assert table["setting_mu"].to_pylist() == ["0.9", "adaptive", None]
    write(tmp_path / "points.parquet", points := series_table(RECORDS))
    values = parquet.read_table(tmp_path / "points.parquet")["value"].to_numpy()
    assert values.tobytes() == np.array(points["value"]).tobytes()


def test_each_identity_once() -> None:
    on_other_data = dataclasses.replace(RECORDS[0], provenance={"data_checksum": "all:other"})
    assert unique([*RECORDS, on_other_data, RECORDS[0], on_other_data]) == [*RECORDS, on_other_data]
    runs, points = runs_table([RECORDS[0], on_other_data]), series_table([RECORDS[0], on_other_data])
    assert runs["data_checksum"] == ["", "all:other"] and set(points["data_checksum"]) == {"", "all:other"}


def test_what_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs", "runs.json"):
        with pytest.raises(ExportError, match=r"must end in .csv or .parquet"):
            check(Path(name))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    check(Path("runs.csv"))
    with pytest.raises(ExportError, match=r"not installed: install it or name a file that ends in .csv"):
        check(Path("runs.parquet"))


def test_command(checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for record in RECORDS:
        Store(checkout / "data" / "runs").put(record)
    Store(checkout / "data" / "scratch" / "runs").put(RECORDS[0])
    assert main(["export", "out/runs.csv", "--series", "--profile", "desk"]) == 0
    assert capsys.readouterr().out == "out/runs.csv: 3 runs\nout/runs.series.csv: 18 points\n"
    assert len(rows(checkout / "out/runs.csv")) == 3 and len(rows(checkout / "out/runs.series.csv")) == 18
    assert main(["export", "none.csv", "--profile", "paper"]) == 2
    before = (checkout / "out/runs.csv").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["export", "out/runs.csv"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert (checkout / "out/runs.csv").read_bytes() == before
    assert sorted(p.name for p in (checkout / "out").iterdir()) == ["runs.csv", "runs.series.csv"]
