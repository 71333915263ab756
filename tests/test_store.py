"""Records and their store: exact, small, written whole or not at all, never overwritten."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import killed_writers
import numpy as np
import pytest
import torch

from adatune_lite import files
from adatune_lite.runs import provenance
from adatune_lite.runs import record as record_module
from adatune_lite.runs.record import LIMIT, NewerSchema, Record, RecordError, impossible
from adatune_lite.runs.store import Conflict, Store, StoreError, stores_for
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.spec import RunSpec

TASK = TaskSpec("mnist5k", train=4000, validation=500, test=500)
PACKAGE = Path(files.__file__).parent


def spec(seed: int = 0, detail: str = "full", steps: int = 512) -> RunSpec:
    return RunSpec("training", TASK, "marthe", steps, seed, {"mu": 0.9, "lr": 0.01}, detail=detail)  # type: ignore[arg-type]


def record(
    seed: int = 0, loss: float = 0.25, code: str = "", start: str = "2026-01-01", **labels: str
) -> Record:
    rng = np.random.default_rng(seed)
    outcome = Outcome(
        "finished", {"lr": rng.random(5), "loss": [1.0, loss]}, {"test_loss": loss}, {"plain_steps": 9}
    )
    return Record.of(
        spec(seed),
        outcome,
        code=code or provenance.code_hash(provenance.Kind.of(spec(seed))),
        device="cpu",
        labels=labels,
        provenance={"start": start},
    )


def forged(made: Record, **changes: object) -> bytes:
    """A record's file with other content and the digest that belongs to it."""
    body = {**json.loads(made.to_json()), **changes}
    del body["digest"]
    return json.dumps({**body, "digest": record_module._digest(body)}).encode()


class TestRecord:
    def test_schedule_comes_back_to_the_last_digit(self) -> None:
        lr = torch.rand(512, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-3
        lr[3] = 5e-324
        made = Record.of(spec(), Outcome("finished", {"lr": lr}), code="c", device="cpu")
        steps, values = Record.from_json(made.to_json()).series("lr")
        assert values.tobytes() == lr.numpy().tobytes()
        assert steps.tolist() == list(range(512))
        assert made.digest() == Record.from_json(made.to_json()).digest()
        lr[100] = torch.nextafter(lr[100], torch.tensor(1.0, dtype=torch.float64))
        assert (
            Record.of(spec(), Outcome("finished", {"lr": lr}), code="c", device="cpu").digest()
            != made.digest()
        )

    def test_whole_record_comes_back(self) -> None:
        made = record(3, experiment="01", profile="desk")
        assert Record.from_json(made.to_json()) == made

    def test_long_series_are_thinned_evenly_with_both_ends(self) -> None:
        values = np.arange(1000) / 3
        made = Record.of(spec(), Outcome("finished", {"loss": values}), code="c", device="cpu")
        steps, kept = made.series("loss")
        assert len(steps) == len(kept) == 128
        assert steps[0] == 0 and steps[-1] == 999
        assert set(np.diff(steps)) <= {7, 8}
        assert kept == pytest.approx(values[steps], rel=5e-9), "9 significant digits"
        assert kept[1] == 2.66666667

    def test_summary_thins_the_schedule_too(self) -> None:
        outcome = Outcome("finished", {"lr": np.linspace(0, 1, 512)})
        assert len(Record.of(spec(detail="summary"), outcome, code="c", device="cpu").series("lr")[0]) == 64
        assert len(Record.of(spec(detail="full"), outcome, code="c", device="cpu").series("lr")[0]) == 512

    def test_own_steps_are_kept_and_thinned_with_the_values(self) -> None:
        every = np.arange(0, 2000, 10)
        made = Record.of(
            spec(), Outcome("finished", {"acc": Series(every * 2.0, every)}), code="c", device="cpu"
        )
        steps, values = made.series("acc")
        assert len(steps) == 128 and np.array_equal(values, steps * 2.0)

    def test_full_record_stays_within_the_limit(self) -> None:
        rng = np.random.default_rng(0)
        series = {
            name: rng.random(512) for name in ("lr", "loss", "outer_loss", "hypergradient", "norm", "mu")
        }
        made = Record.of(
            spec(),
            Outcome("finished", series, {f"m{k}": rng.random() for k in range(10)}),
            code=provenance.code_hash(provenance.Kind.of(spec())),
            device="cpu",
            provenance=provenance.describe("cpu") | provenance.data("mnist5k"),
        )
        assert len(made.to_json()) <= LIMIT
        assert len(made.series("lr")[0]) == 512 and len(made.series("loss")[0]) >= 32

    def test_what_is_not_finite_comes_back_from_strict_json(self) -> None:
        loss = [1.0, np.inf, np.nan, -np.inf]
        outcome = Outcome("diverged at step 2", {"loss": loss}, {"test_loss": np.nan})
        content = Record.of(spec(), outcome, code="c", device="cpu").to_json()

        def refuse(token: str) -> float:
            raise AssertionError(token)

        json.loads(content, parse_constant=refuse)
        back = Record.from_json(content)
        assert np.array_equal(back.series("loss")[1], loss, equal_nan=True)
        assert np.isnan(back.metrics["test_loss"]) and back.diverged and not back.finished

    @pytest.mark.parametrize(
        ("outcome", "message"),
        [
            (
                Outcome("crashed"),
                "status is finished, stopped by budget or diverged at step s, not 'crashed'",
            ),
            (Outcome("finished", {"lr": torch.zeros(2, 2)}), r"one axis, not shape \(2, 2\)"),
            (Outcome("finished", {"lr": Series([1.0, 2.0], [0])}), "2 values at 1 steps"),
        ],
    )
    def test_impossible_outcomes_are_refused(self, outcome: Outcome, message: str) -> None:
        with pytest.raises(RecordError, match=message):
            Record.of(spec(), outcome, code="c", device="cpu")

    def test_damage_is_noticed(self) -> None:
        content = record().to_json()
        for torn in (content[:-30], b"", b"\xff\xfe", b"[]", content.replace(b'"loss":', b'"lass":')):
            with pytest.raises(RecordError):
                Record.from_json(torn)
        with pytest.raises(RecordError, match="does not match its digest"):
            Record.from_json(content.replace(b"0.25", b"0.26"))
        with pytest.raises(RecordError, match="schema 2, this version knows up to 1"):
            Record.from_json(content.replace(b'"schema": 1', b'"schema": 2'))
        with pytest.raises(RecordError, match="NaN is not JSON"):
            Record.from_json(content.replace(b"0.25", b"NaN"))

    def test_impossible_values_are_named(self) -> None:
        assert not list(impossible(record()))
        outcome = Outcome("finished", {"lr": [0.1, -0.1]}, {"test_loss": np.inf}, {"plain_steps": -1})
        made = Record.of(spec(), outcome, code="c" * 64, device="tpu")
        assert len(list(impossible(made))) == 4
        outcome = Outcome("diverged at step 9", {"lr": [0.1] * 9}, {"test_accuracy": 100.5})
        made = Record.of(spec(steps=8), outcome, code="../../outside", device="cpu")
        assert list(impossible(made)) == [
            "it diverged at step 9 of 8",
            "its code hash is '../../outside', not 64 hexadecimal digits",
            "it has a learning rate at step 8 of 8",
            "metric test_accuracy is 100.5, outside 0 to 100 %",
        ]

    @pytest.mark.parametrize(("rate", "problems"), [(-0.1, 0), (np.nan, 1)])
    def test_rates_may_be_negative_where_they_are_not_projected(self, rate: float, problems: int) -> None:
        unprojected = dataclasses.replace(
            spec(),
            function="published",
            method="marthe_as_published",
            settings=(("faults", "no_decay,no_projection"), ("lr", 0.1)),
        )
        made = Record.of(unprojected, Outcome("finished", {"lr": [0.1, rate]}), code="c" * 64, device="cpu")
        assert len(list(impossible(made))) == problems

    @pytest.mark.parametrize(
        ("part", "value"), [("labels", ["desk"]), ("metrics", {"loss": "low"}), ("code_hash", 7)]
    )
    def test_wrong_kinds_are_refused_even_with_a_right_digest(self, part: str, value: object) -> None:
        with pytest.raises(RecordError, match="holds what a record cannot hold"):
            Record.from_json(forged(record(), **{part: value}))


class TestStore:
    def test_put_and_get(self, tmp_path: Path) -> None:
        store, made = Store(tmp_path), record(1, experiment="01", profile="smoke")
        assert store.get(made.spec) is None
        path = store.put(made)
        assert path.parent.name == made.spec.hash[:2]
        assert path.name == f"{made.spec.hash[:16]}-{made.code[:8]}-cpu-float32.json"
        assert store.get(made.spec) == made == Store(tmp_path).get(made.spec)
        assert store.put(made) == path
        assert [r.spec.seed for r in store.records(experiment="01", profile="smoke")] == [1]
        assert not list(store.records(experiment="02"))
        assert not list(store.verify())

    def test_conflict_keeps_both(self, tmp_path: Path) -> None:
        store, first, second = Store(tmp_path), record(0, 0.25), record(0, 0.26)
        path = store.put(first)
        for _ in range(2):
            with pytest.raises(Conflict, match=r"another outcome and was kept.*lies beside it"):
                store.put(second)
        assert store.get(first.spec) == first
        beside = [p for p in path.parent.iterdir() if p != path]
        assert [Record.from_json(p.read_bytes()) for p in beside] == [second]
        assert [p.path for p in store.verify()] == beside

    def test_time_and_labels_make_no_conflict(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put(record(start="2026-01-01", profile="desk"))
        store.put(record(start="2026-01-02", profile="quick"))
        assert [r.labels["profile"] for r in store.records()] == ["desk"]

    def test_stale_records_are_given_only_if_asked_for(self, tmp_path: Path) -> None:
        store, old = Store(tmp_path), record(code="0" * 64, start="2027-01-01")
        store.put(old)
        assert store.get(old.spec) is None
        assert store.get(old.spec, stale=True) == old
        store.put(present := record(start="2026-01-01"))
        assert store.get(old.spec) == present
        assert store.get(old.spec, stale=True) == old, "the newest by time"
        assert not list(store.verify())

    def test_damaged_record_leaves_the_others_readable_and_is_never_deleted(self, tmp_path: Path) -> None:
        store, sound, damaged = Store(tmp_path), record(0), record(1)
        store.put(sound)
        path = store.put(damaged)
        torn = path.read_bytes()[:100]
        path.write_bytes(torn)
        assert store.get(sound.spec) == sound and store.get(damaged.spec) is None
        assert list(store.records()) == [sound]
        (problem,) = store.verify()
        assert problem.path == path and "not JSON" in problem.what
        store.put(damaged)
        assert store.get(damaged.spec) == damaged
        (aside,) = path.parent.glob("*.damaged")
        assert aside.read_bytes() == torn
        assert [problem.path for problem in store.verify()] == [aside]

    def test_newer_schema_stops_readers_and_is_not_overwritten(self, tmp_path: Path) -> None:
        store, made = Store(tmp_path), record(0)
        path = store.put(made)
        newer = forged(made, schema=2)
        path.write_bytes(newer)
        for read in (lambda: store.get(made.spec), lambda: list(store.records())):
            with pytest.raises(NewerSchema, match="has schema 2, this version knows up to 1: update"):
                read()
        assert [problem.path for problem in store.verify()] == [path]
        with pytest.raises(Conflict, match=r"was kept, but it has schema 2.*lies beside it"):
            store.put(made)
        assert path.read_bytes() == newer

    def test_verify_names_misplaced_and_impossible_records(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        path = store.put(record(0))
        path.rename(path.with_name("00" + path.name[2:]))
        outcome = Outcome("finished", {}, {"test_loss": np.nan})
        store.put(Record.of(spec(7), outcome, code="c" * 64, device="cpu"))
        (tmp_path / "zz").mkdir()
        (tmp_path / "zz" / "notes.txt").write_text("")
        (tmp_path / "deep" / "er").mkdir(parents=True)
        (tmp_path / "deep" / "er" / "lost.json").write_bytes(record(3).to_json())
        what = sorted(problem.what for problem in store.verify())
        assert len(what) == 4
        assert what[0] == "a finished run has a metric that is not finite"
        assert what[1] == "is no record"
        assert what[2].startswith("its content belongs under the name")
        assert what[3].startswith("lies where no reader looks")

    def test_reading_looks_into_other_folders_and_writing_does_not(self, tmp_path: Path) -> None:
        committed = Store(tmp_path / "committed")
        committed.put(record(0))
        scratch = Store(tmp_path / "scratch", [committed.root])
        assert scratch.get(spec(0)) is not None
        scratch.put(record(1))
        assert committed.get(spec(1)) is None

    def test_profiles_write_where_they_belong(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(files, "project_root", lambda: tmp_path)
        committed, scratch = tmp_path / "data/runs", tmp_path / "data/scratch/runs"
        assert stores_for("smoke").roots == (scratch, committed)
        assert stores_for("desk").roots == (committed,), "a clone must have all that a desk chapter shows"
        assert stores_for("desk", tmp_path / "out").roots == (tmp_path / "out", committed)


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_full_disk_is_one_sentence_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: str
) -> None:
    """The disk is full at any of the steps; root may write everywhere, so the fault is injected."""
    store = Store(tmp_path / "runs")
    store.put(record(0))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.json")}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr("builtins.open", full)
        else:
            patch.setattr(os, call, full)
            patch.setattr(os, "replace", full)
        with pytest.raises(StoreError, match=r"No space left on device.*make room there or choose another"):
            store.put(record(1))
        if call != "link":
            with pytest.raises(StoreError, match="No space left on device"):
                store.check_writable()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    store.put(record(1))
    assert store.get(spec(1)) is not None


def test_file_system_without_links_still_writes_whole_records(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unsupported(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    store = Store(tmp_path)
    store.put(record(0))
    store.put(record(0))
    with pytest.raises(Conflict):
        store.put(record(0, loss=0.5))
    assert store.get(spec(0)) == record(0)


def writers(*arguments: str | Path) -> dict[str, Any]:
    """What the program killed_writers.py says."""
    done = subprocess.run(
        [sys.executable, killed_writers.__file__, *map(str, arguments)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.slow
def test_killed_writers_lose_and_tear_nothing(tmp_path: Path) -> None:
    """Writers of the same records in one folder on a slow disk, killed 100 times at random moments."""
    done = writers(tmp_path, "kill", "100")
    assert done["killed"] >= 100 and done["failed"] == 0 and done["confirmed"] >= 10
    store = Store(tmp_path)
    for seed in range(done["confirmed"] + 1):
        expected = killed_writers.made(seed)
        assert store.get(expected.spec, stale=True) == expected
    assert not list(store.verify())
    sizes = [path.stat().st_size for path in store.left_behind()]
    assert sum(size > 0 and size % 512 == 0 for size in sizes) >= 5, "many were hit inside a file"


@pytest.mark.slow
def test_writers_on_a_full_disk_say_so_and_leave_nothing(tmp_path: Path) -> None:
    said = writers(tmp_path, "full")["said"]
    assert len(said) == 4
    assert all("File too large" in each and "make room there" in each for each in said)
    store = Store(tmp_path)
    assert sorted(record.spec.seed for record in store.records()) == [0, 1]
    assert not list(store.verify())


def test_dataclass_fields_are_not_forgotten_by_the_file() -> None:
    body = json.loads(record(0, profile="desk").to_json())
    for name in (f.name for f in dataclasses.fields(Record)):
        assert {"code": "code_hash", "stored": "series"}.get(name, name) in body
