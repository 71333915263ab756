"""Desk runs made again by accepted and by present code: which, and whether a changed bit is seen."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adatune_lite import files
from adatune_lite.runs import again, provenance, rerun
from adatune_lite.runs.canary import EPOCHS, Finding
from adatune_lite.runs.freshness import SHORT, Evidence
from adatune_lite.runs.provenance import Kind
from adatune_lite.runs.record import Record
from adatune_lite.runs.rerun import Desk
from adatune_lite.runs.store import Store, stores_for
from adatune_lite.tasks.spec import TaskSpec, pairs
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

OLD, NEW, THIRD = "0" * 64, "1" * 64, "2" * 64
TASK = TaskSpec("mnist5k", train=400, validation=100, test=100, hidden=(8,), batch=50)
SPEC = RunSpec("training", TASK, "constant", 500, 0, pairs({"lr": 0.1}))
KIND = Kind.of(SPEC)
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b")


def record(spec: RunSpec = SPEC, seconds: float = 1.0, code: str = OLD, **more: str) -> Record:
    outcome = Outcome(more.pop("status", "finished"), {"lr": [0.1]}, {"loss": 1.0}, {"seconds": seconds})
    labels = {"experiment": "01_x", "profile": "desk", **more}
    return Record.of(spec, outcome, code=code, device="cpu", labels=labels)


def finding(
    kind: Kind = KIND, codes: Sequence[str] = (OLD,), present: str = NEW, provisional: Sequence[str] = ()
) -> Finding:
    short = [tuple(code[:SHORT] for code in given) for given in (codes, provisional)]
    return Finding(kind, present, (), Evidence(short[0], "2.0", {}, short[1]), {})


class TestChoice:
    def chosen(self, *records: Record, findings: Sequence[Finding] = (finding(),)) -> dict[str, RunSpec]:
        return {name: desk.spec for name, desk in rerun.wanted(findings, records).items()}

    def test_the_cheapest_of_those_that_are_long_enough(self) -> None:
        runs = [replace(SPEC, seed=seed) for seed in range(4)]
        short = replace(SPEC, steps=399)
        few_epochs = replace(SPEC, task=replace(TASK, train=50 * 250))
        records = [
            *(record(short, 0.1), record(few_epochs, 0.1)),
            *(record(runs[0], 9.0), record(runs[1], 3.0), record(runs[2], 5.0)),
            *(record(runs[3], 1.0, status="diverged at step 3"), record(runs[3], 1.0, profile="quick")),
        ]
        assert self.chosen(*records) == {"training": runs[1]}

    def test_the_longest_where_none_is_long_enough(self) -> None:
        runs = [replace(SPEC, steps=steps) for steps in (100, 300, 200)]
        assert self.chosen(*map(record, runs)) == {"training": runs[1]}

    def test_of_changed_kinds_alone(self) -> None:
        other = replace(SPEC, method="cosine")
        assert self.chosen(record(other)) == {}
        known = finding(KIND, (OLD, NEW))
        assert self.chosen(record(), record(other), findings=[known, finding(Kind.of(other))]) == {
            "training": other
        }

    def test_one_made_for_it_where_none_crosses_three_epochs(self) -> None:
        task = replace(TASK, train=4000, batch=10)
        settings = {"lr": 0.1, "superbatch": 200, "epsilon_threshold": 1e-3}
        spec = RunSpec("superbatch_size", task, "constant", 400, 0, pairs(settings))
        made = self.chosen(record(spec), findings=[finding(Kind.of(spec))])["superbatch_size"]
        assert made.steps == 400 and made.steps / (made.task.train // made.task.batch) > EPOCHS
        assert made.get("superbatch") <= made.task.train // made.task.batch

    def test_the_first_outer_steps_of_lrs_opt(self) -> None:
        spec = RunSpec("lrs_opt", TASK, "lrs_opt", 500, 0, pairs({"outer_steps": 40}))
        assert self.chosen(record(spec), findings=[finding(Kind.of(spec))])["lrs_opt"].get("outer_steps") == 2

    def test_codes_that_records_have_are_compared_each(self) -> None:
        def accepted(found: Finding, *codes: str) -> list[set[str]]:
            records = [record(code=code) for code in codes]
            return rerun.wanted([found], records)["training"].accepted

        assert accepted(finding(), OLD) == [{OLD[:SHORT]}]
        provisional = finding(provisional=(THIRD,))
        assert accepted(provisional, OLD) == [{OLD[:SHORT]}], "no record was made by the third"
        assert accepted(provisional, OLD, THIRD) == [{OLD[:SHORT]}, {THIRD[:SHORT]}]
        assert accepted(finding(provisional=(NEW,)), OLD, NEW) == [{OLD[:SHORT]}]

    def test_every_function_with_desk_records_has_one(self) -> None:
        records = list(stores_for("desk").records())
        kinds = {Kind.of(r.spec) for r in records}
        chosen = self.chosen(*records, findings=[finding(kind) for kind in kinds])
        assert {*chosen} == {kind.function for kind in kinds}
        for spec in chosen.values():
            assert spec.steps / (spec.task.train // spec.task.batch) > EPOCHS, spec
        short = {name for name, spec in chosen.items() if spec.steps < rerun.STEPS}
        assert short <= {"hypergradient_error", "lr_range", "quadratic_fit"}, "they have no longer ones"


class TestComparison:
    def test_what_differs_is_named(self) -> None:
        old = {"status": "finished", "figures": {"lr": ["a", "b"], "loss": ["c"]}}
        assert not list(rerun.differing(old, json.loads(json.dumps(old))))
        new = {"status": "finished", "figures": {"lr": ["a", "x"], "final": ["c"]}}
        assert list(rerun.differing(old, new)) == [
            "final is other from its entry 0 on",
            "loss is other from its entry 0 on",
            "lr is other from its entry 1 on",
        ]
        longer = {"status": "finished", "figures": {"lr": ["a", "b", "c"], "loss": ["c"]}}
        assert list(rerun.differing(old, longer)) == ["lr is other from its entry 2 on"]
        assert list(rerun.differing(old, {"status": "diverged at step 3"})) == [
            "it ends 'diverged at step 3', not 'finished',"
        ]

    def test_an_answer_holds_every_bit(self, tmp_path: Path) -> None:
        spec = replace(SPEC, steps=5)
        question = {"specs": [spec.canonical()], "store": str(tmp_path), "run": True}
        (one,), (two,) = again.answer(question), again.answer(question)
        assert one == two and one["code"] == provenance.code_hash(KIND)
        rates = [float.fromhex(value) for value in one["figures"]["lr"]]
        assert rates == [0.1] * 5 and math.isfinite(float.fromhex(one["figures"]["train_loss"][-1]))
        (known,) = again.answer({**question, "run": False})
        assert known == {"code": one["code"]}

    def test_data_that_are_not_there_are_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(*_: object) -> None:
            raise again.DataError("there is no mnist here")

        monkeypatch.setattr("adatune_lite.training.functions.image_task", none)
        monkeypatch.setattr("adatune_lite.training.functions._cached_task", none)
        question = {"specs": [SPEC.canonical()], "store": str(tmp_path), "run": True}
        assert again.answer(question)[0]["missing"] == "there is no mnist here"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
class TestHistory:
    @pytest.fixture
    def checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A repository with this package in its one commit."""
        package = tmp_path / "adatune_lite"
        shutil.copytree(files.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / "pyproject.toml").touch()
        digits = files.scratch_folder() / "mnist5k.npz"
        if digits.is_file():
            (tmp_path / "data" / "scratch").mkdir(parents=True)
            shutil.copy(digits, tmp_path / "data" / "scratch")
        for line in ("init -q", "add adatune_lite pyproject.toml", "commit -qm one"):
            subprocess.run(["git", "-C", str(tmp_path), *IDENTITY, *line.split()], check=True)
        monkeypatch.setattr(files, "PACKAGE", package)
        return tmp_path

    @pytest.mark.slow
    def test_a_fault_that_begins_late_is_seen(self, checkout: Path) -> None:
        loop = checkout / "adatune_lite" / "training" / "loop.py"
        sound = loop.read_text(encoding="utf-8")
        faulty = sound.replace(
            "batch = task.batch(seed, t)", "batch = task.batch(seed, t if t < 64 else t - 64)"
        )
        assert faulty != sound
        loop.write_text(faulty, encoding="utf-8")
        present = provenance.code_hash(KIND)[:SHORT]
        desk = Desk(replace(SPEC, steps=70), [{OLD[:SHORT], present}])
        rerun.compare({"training": desk}, Store(checkout / "data" / "runs"))
        assert desk.equal is False and list(desk.commits) == [present]
        # All before that step, and the rate at every step, are the same to the last bit.
        first = [
            what for what in desk.differences if "train_loss is other from its entry 64 on than at" in what
        ]
        assert first and not any(": lr is other" in what for what in desk.differences)

    def test_a_commit_that_cannot_run_is_passed_over(self, checkout: Path) -> None:
        loop = checkout / "adatune_lite" / "training" / "loop.py"
        sound = loop.read_text(encoding="utf-8")
        loop.write_text("half of a change", encoding="utf-8")
        subprocess.run(["git", "-C", str(checkout), *IDENTITY, "commit", "-qam", "two"], check=True)
        loop.write_text(sound, encoding="utf-8")
        present = provenance.code_hash(KIND)[:SHORT]
        desk = Desk(replace(SPEC, steps=8), [{present}])
        rerun.compare({"training": desk}, Store(checkout / "data" / "runs"))
        assert desk.equal is True and list(desk.commits) == [present]

    def test_an_accepted_code_that_no_commit_has_is_said(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rerun, "ask", lambda *_, **__: [{"code": NEW}])
        desk = Desk(SPEC, [{OLD[:SHORT]}])
        rerun.compare({"training": desk}, Store(checkout / "data" / "runs"))
        assert desk.equal is None and "no commit among the last 40" in desk.undone

    def test_commits_older_than_the_comparison_are_not_asked(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object, **__: object) -> None:
            raise subprocess.CalledProcessError(1, "python")

        monkeypatch.setattr(rerun, "ask", fails)
        desk = Desk(SPEC, [{OLD[:SHORT]}])
        rerun.compare({"training": desk}, Store(checkout / "data" / "runs"))
        assert desk.equal is None and desk.undone
