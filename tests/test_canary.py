"""Canaries: the present code against the kept ones, what makes records fresh, and a fault to be seen."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_runs
import pytest

from adatune_lite import __main__, experiments, notebook
from adatune_lite.experiments import find
from adatune_lite.experiments.lrs_opt_vs_marthe import canary as specs_01
from adatune_lite.runs import canary, freshness, provenance, rerun
from adatune_lite.runs.canary import Finding
from adatune_lite.runs.freshness import Canary, CanaryError, Evidence, SmallRun, WithStale
from adatune_lite.runs.provenance import Kind
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store, is_stale, stores_for
from adatune_lite.training import registry
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENT = find("01")
OLD, OTHER = "0" * 64, "1" * 64


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    """Experiment 01's canary, made once by the present code and compared with the kept one."""
    return canary.examine(EXPERIMENT)


def test_the_present_code_gives_the_kept_numbers(findings: list[Finding]) -> None:
    """Alone among these tests it passes under changed code that gives the same numbers."""
    assert not [difference for found in findings for difference in found.differences]


class TestTheKeptCanaries:
    """These fail when the deciding code has changed; what they say is what is to be done."""

    def test_the_present_code_is_accepted(self, findings: list[Finding]) -> None:
        left = canary.advice(EXPERIMENT, findings, stores_for("desk"))
        assert not left, left

    @pytest.mark.parametrize("name", experiments.EXPERIMENTS)
    def test_no_desk_run_is_left_to_be_compared(self, name: str) -> None:
        assert not freshness.outstanding(name), freshness.outstanding(name)

    @pytest.mark.parametrize("name", experiments.EXPERIMENTS)
    def test_no_two_runs_that_are_set_otherwise_give_the_same_numbers(self, name: str) -> None:
        """One that equals another would not notice that its setting had lost its effect."""
        kept = freshness.read(name)
        seen: dict[tuple[str, str], tuple[str, str]] = {}
        for kind, held in kept.kinds.items() if kept else ():
            for run, made in held.runs.items():
                given = (kind.function, repr((made.status, made.figures)))
                other, spec = seen.setdefault(given, (run, made.spec))
                assert spec == made.spec, f"{name}, {kind}: {run} equals {other}"


def small(*values: float, status: str = "finished", spec: str = "a") -> SmallRun:
    return SmallRun(spec, status, {"lr": values, "final loss": (1.0,)})


class TestComparison:
    @pytest.mark.parametrize(
        ("before", "now", "expected"),
        [
            ((1.0, 2.0), (1.0, 2.0), 0.0),
            ((1.0, -4.0), (1.0 + 1e-6, -4.0), 2.5e-7),  # of the largest magnitude in the series
            ((1e-30, 1.0), (2e-30, 1.0), 1e-30),
            ((0.0,), (0.0,), 0.0),
            ((0.0,), (1e-300,), math.inf),
            ((math.nan, math.inf), (math.nan, math.inf), 0.0),
            ((math.nan, 1.0), (1.0, 1.0), math.inf),
            ((math.inf,), (-math.inf,), math.inf),
            ((1.0,), (1.0, 1.0), math.inf),
            ((), (), 0.0),
        ],
    )
    def test_deviation(self, before: tuple[float, ...], now: tuple[float, ...], expected: float) -> None:
        assert canary.deviation(before, now) == pytest.approx(expected, rel=1e-6)

    def test_rounding_is_no_difference_and_a_changed_digit_is(self) -> None:
        kept = {"hd": small(0.1, 0.2)}
        assert not list(canary.differences(kept, {"hd": small(0.1, 0.2 * (1 + 1e-12))}))
        found = list(canary.differences(kept, {"hd": small(0.1, 0.2 * (1 + 1e-6))}))
        assert found == ["hd: lr differs by 1e-06 of its largest value"]

    def test_a_relative_error_is_a_part_of_one(self) -> None:
        """What an exact derivative is off by is rounding, and another processor's is another one."""

        def error(value: float) -> dict[str, SmallRun]:
            return {"hd": SmallRun("a", "finished", {"final relative_error": (value,)})}

        assert not list(canary.differences(error(1e-10), error(3e-10)))
        found = list(canary.differences(error(1e-10), error(1e-8)))
        assert found == ["hd: final relative_error differs by 1e-08 of 1"]
        assert list(canary.differences(error(0.2), error(0.2 + 1e-8)))

    @pytest.mark.parametrize(
        ("now", "words"),
        [
            ({}, "another run now, or none"),
            ({"hd": small(0.1, spec="b")}, "another run now"),
            ({"hd": small(0.1, status="diverged at step 1")}, "finished before, diverged at step 1 now"),
            ({"hd": SmallRun("a", "finished", {"lr": (0.1,)})}, "only one of the two has final loss"),
        ],
    )
    def test_what_cannot_be_compared_differs(self, now: dict[str, SmallRun], words: str) -> None:
        (sentence,) = canary.differences({"hd": small(0.1)}, now)
        assert words in sentence

    def test_in_float32_the_tolerance_is_wider(self) -> None:
        def single(rate: float) -> dict[str, SmallRun]:
            return {"hd": SmallRun("a", "finished", {"lr": (rate,)}, "float32")}

        assert not list(canary.differences(single(0.1), single(0.1 * (1 + 3e-5))))
        found = list(canary.differences(single(0.1), single(0.1 * (1 + 3e-4))))
        assert found == ["hd: lr differs by 0.0003 of its largest value"]

    def test_a_new_run_is_no_difference(self) -> None:
        assert not list(canary.differences({"hd": small(0.1)}, {"hd": small(0.1), "rtho": small(0.3)}))


KIND = Kind("training", "constant", "sgd", "mlp")
SHORT_OLD, SHORT_OTHER = OLD[: freshness.SHORT], OTHER[: freshness.SHORT]


def finding(
    kept: tuple[str, ...] = (OLD,),
    code: str = OTHER,
    rate: float = 0.1,
    provisional: tuple[str, ...] = (),
    **more: SmallRun,
) -> Finding:
    """Of one small run, that came out with `rate`; the kept one has 0.1."""
    short = [tuple(code[: freshness.SHORT] for code in codes) for codes in (kept, provisional)]
    held = Evidence(short[0], "2.0", {"hd": small(0.1)}, short[1]) if kept or provisional else None
    made = {"hd": small(rate), **more}
    found = tuple(canary.differences(held.runs, made)) if held else ()
    return Finding(KIND, code, found, held, made)


class TestAccepting:
    @pytest.fixture(autouse=True)
    def folder(self, checkout: Path) -> Path:
        return checkout

    def accepted(
        self, found: Finding, *, equal: bool | None = True, renew: bool = False, used: tuple[str, ...] = ()
    ) -> Evidence:
        if found.kept:
            freshness.write(Canary(EXPERIMENT.NAME, {KIND: found.kept}))
        canary.accept(EXPERIMENT, [found], desk={"training": equal}, used=used, renew=renew)
        return self.held()

    def held(self) -> Evidence:
        kept = freshness.read(EXPERIMENT.NAME)
        assert kept is not None
        return kept.kinds[KIND]

    def test_an_equal_one_makes_both_hashes_fresh_and_keeps_the_first_digits(self) -> None:
        held = self.accepted(finding(rate=0.1 * (1 + 1e-12)))
        assert held.codes == (SHORT_OLD, SHORT_OTHER) and not held.provisional
        assert held.runs["hd"].figures["lr"] == (0.1,)

    def test_a_new_small_run_is_added(self) -> None:
        held = self.accepted(finding(kept=(OTHER,), rtho=small(0.3)))
        assert held.codes == (SHORT_OTHER,) and {*held.runs} == {"hd", "rtho"}

    def test_the_first_is_kept_as_it_is(self) -> None:
        assert self.accepted(finding(kept=())).codes == (SHORT_OTHER,)

    def test_a_different_one_is_refused_and_nothing_changes(self) -> None:
        found = finding(rate=0.2)
        with pytest.raises(CanaryError, match="differs: hd: lr differs by 1 of"):
            self.accepted(found)
        assert self.held() == found.kept

    def test_a_desk_run_that_differs_is_refused_and_nothing_changes(self) -> None:
        found = finding()
        with pytest.raises(CanaryError, match="a desk run of training differs"):
            self.accepted(found, equal=False)
        assert self.held() == found.kept
        held = self.accepted(found, equal=False, renew=True)
        assert held.codes == (SHORT_OTHER,) and not held.provisional

    def test_without_a_desk_run_it_is_provisional_until_one_was_compared(self) -> None:
        held = self.accepted(finding(), equal=None)
        assert held.codes == (SHORT_OLD,) and held.provisional == (SHORT_OTHER,)
        assert "`python -m adatune_lite canary 01 --accept`" in freshness.outstanding(EXPERIMENT.NAME)
        third = "2" * 64
        held = self.accepted(finding(code=third, provisional=(OTHER,)), used=(OTHER,))
        assert held.codes == (SHORT_OLD, SHORT_OTHER, third[: freshness.SHORT]) and not held.provisional
        assert not freshness.outstanding(EXPERIMENT.NAME)

    def test_provisional_code_that_made_no_record_is_forgotten(self) -> None:
        held = self.accepted(finding(code="2" * 64, provisional=(OTHER,)))
        assert SHORT_OTHER not in held.codes and not held.provisional

    def test_what_is_known_needs_no_desk_run(self) -> None:
        assert not finding(kept=(OLD, OTHER)).changed
        assert finding().changed and finding(provisional=(OTHER,)).changed

    def test_renewing_drops_the_hashes_of_other_numbers(self) -> None:
        held = self.accepted(finding(rate=0.2), renew=True)
        assert held.codes == (SHORT_OTHER,) and held.runs["hd"].figures["lr"] == (0.2,)
        assert not held.earlier

    def test_renewing_under_the_same_code_keeps_the_hashes(self) -> None:
        held = self.accepted(finding(kept=(OLD, OTHER), rate=0.2), renew=True)
        assert held.codes == (SHORT_OLD, SHORT_OTHER) and held.runs["hd"].figures["lr"] == (0.2,)
        held = self.accepted(finding(rate=0.2, provisional=(OTHER,)), renew=True)
        assert held.provisional == (SHORT_OTHER,), "no desk run was compared"

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            (finding(kept=(OTHER,)), ""),
            (finding(kept=()), "no canary yet of training constant sgd mlp: `.* 01 --accept` keeps them"),
            (finding(), "is equal under changed code: `python -m adatune_lite canary 01 --accept` compares"),
            (finding(provisional=(OTHER,)), "was accepted by small runs alone: `.* --accept` compares a"),
            (finding(kept=(OTHER,), rtho=small(1.0)), "has 1 new runs: `.* --accept` keeps them"),
            (finding(kept=(OTHER,), rate=0.2), "the same and its numbers are not.*made with torch 2.0"),
            (finding(rate=0.2), "numbers with it.*--renew`, then rerun .*--profile desk` \\(1 stale records"),
        ],
    )
    def test_what_is_said(self, found: Finding, words: str) -> None:
        stores_for("desk").put(record(OLD))
        said = canary.advice(EXPERIMENT, [found], stores_for("desk"))
        assert bool(said) == bool(words)
        assert re.search(words, said)


class Nothing:
    """A store without records."""

    def get(self, spec: RunSpec, **_: object) -> None:
        return None


def record(code: str, experiment: str = EXPERIMENT.NAME, seed: int = 0, start: str = "2026-01-01") -> Record:
    spec = EXPERIMENT.results("desk", Nothing()).groups["report", "start"].specs[seed]
    labels = {"experiment": experiment, "profile": "desk", "role": "report"}
    metrics = {"validation_loss": 0.5, "test_loss": 0.5, "test_accuracy": 90.0}
    cost = {"seconds": 2.0, "plain_steps": 512.0, "training_seconds": 1.0}
    outcome = Outcome("finished", {"lr": [0.01] * spec.steps}, metrics, cost)
    facts = {"start": start, "commit": "abc", "dirty": False}
    return Record.of(spec, outcome, code=code, device="cpu", labels=labels, provenance=facts)


class TestFreshness:
    @pytest.fixture(autouse=True)
    def folder(self, checkout: Path) -> Iterator[Path]:
        yield checkout
        freshness._read.cache_clear()

    def keep(self, *codes: str, kind: Kind = KIND, **more: Any) -> None:
        held = Evidence(tuple(code[: freshness.SHORT] for code in codes), "2.0", {"hd": small(0.1)}, **more)
        freshness.write(Canary(EXPERIMENT.NAME, {kind: held}, {"training": (OLD,)}))

    def test_a_record_is_as_fresh_as_its_canary_says(self) -> None:
        present = provenance.code_hash(KIND)
        old = record(OLD)
        assert is_stale(old) and not is_stale(record(present))
        self.keep(OLD)
        assert is_stale(old), "the present code was not tried"
        self.keep(present)
        assert is_stale(old), "made by code that was not tried"
        self.keep(OLD, present)
        assert not is_stale(old)
        assert is_stale(record(OLD, experiment="02_other")), "another experiment's canary says nothing of it"
        for changed in ({"function": "generalisation"}, {"method": "cosine"}, {"network": "mlp_bn"}):
            self.keep(OLD, present, kind=KIND._replace(**changed))
            assert is_stale(old), "nor one of another kind"

    def test_a_provisional_code_keeps_records_fresh(self) -> None:
        self.keep(OLD, provisional=(provenance.code_hash(KIND)[: freshness.SHORT],))
        assert not is_stale(record(OLD))

    def test_a_record_older_than_the_kinds_is_fresh_while_its_function_was(self) -> None:
        present = provenance.code_hash(KIND)
        self.keep(present, earlier=True)
        assert not is_stale(record(OLD)) and is_stale(record(OTHER))
        self.keep(present)
        assert is_stale(record(OLD)), "its digits were renewed since"
        self.keep(OTHER, earlier=True)
        assert is_stale(record(OLD)), "the present code was not tried"

    def test_a_record_of_a_method_that_is_gone_is_stale(self, monkeypatch: pytest.MonkeyPatch) -> None:
        held = record(OLD)
        self.keep(OLD)
        monkeypatch.delitem(registry.METHODS, "constant")
        assert is_stale(held)

    def test_a_store_gives_cleared_records_and_pages_get_stale_ones(self) -> None:
        store, spec = stores_for("desk"), record(OLD).spec
        store.put(record(OLD, start="2026-01-02"))
        assert store.get(spec) is None, "run computes it again"
        shown = WithStale(store).get(spec)
        assert shown is not None and shown.code == OLD
        self.keep(OLD, provenance.code_hash(KIND))
        cleared = store.get(spec)
        assert cleared is not None and cleared.code == OLD
        freshness.path(EXPERIMENT.NAME).unlink()
        store.put(record(provenance.code_hash(KIND), start="2026-01-01"))
        newer = WithStale(store).get(spec)
        assert newer is not None and newer.code != OLD, (
            "a fresh record is shown rather than a later stale one"
        )

    @pytest.mark.slow
    def test_the_site_shows_stale_records_with_a_mark(self) -> None:
        pytest.importorskip("IPython")
        assert notebook.best_profile("01") is None
        stores_for("desk").put(record(OLD))
        assert notebook.best_profile("01") == "desk"
        results = notebook.load("01", "desk", missing="skip")
        held = results.all_records()
        assert len(held) == 1
        for shown in (notebook.badge("desk", held).data, notebook.provenance(held).data):
            assert 'class="badge-profile stale">stale: the code has changed since all runs<' in shown
        assert notebook.includes()["finding.md"].startswith('<span class="badge-profile stale">')
        self.keep(OLD, provenance.code_hash(KIND))
        for shown in (notebook.badge("desk", held).data, notebook.provenance(held).data):
            assert "stale" not in shown
        assert "stale" not in notebook.includes()["finding.md"]

    def test_the_mark_counts(self) -> None:
        held = [record(OLD), record(provenance.code_hash(KIND), seed=1)]
        assert "since 1 of 2 runs" in notebook.stale_badge(held)
        assert notebook.stale_badge(held[1:]) == notebook.stale_badge([]) == ""

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is damaged"),
            (b"[]", "is damaged"),
            (
                b'{"schema": 1, "experiment": "x", "functions": {"training": {}}}',
                "damaged .KeyError: 'codes'",
            ),
            (b'{"schema": 2, "experiment": "x", "kinds": {"a b": {}}}', "a kind of run is four words"),
            (b'{"schema": 9}', "schema 9, this version knows up to 2"),
        ],
    )
    def test_a_damaged_canary_stops_readers_in_a_sentence(
        self, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place = freshness.path(EXPERIMENT.NAME)
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
        with pytest.raises(CanaryError, match=words):
            is_stale(record(OLD))
        stores_for("desk").put(record(OLD))
        assert __main__.main(["show", record(OLD).spec.hash]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "restore it from the repository" in said

    def test_a_file_is_read_back_to_the_last_digit(self) -> None:
        figures = {"lr": (0.1, 1 / 3, math.inf), "hypergradient": (math.nan, -1e-300), "none": ()}
        runs = {"a, b": SmallRun("c", "finished", figures), "single": SmallRun("d", "x", {}, "float32")}
        held = Evidence((SHORT_OLD,), "2.0", runs, (SHORT_OTHER,), True)
        kept = Canary("x", {KIND: held}, {"training": (OLD, OTHER)})
        again = Canary.from_json(kept.to_json())
        assert repr(again) == repr(kept)
        empty = Canary("x", {})
        assert repr(Canary.from_json(empty.to_json())) == repr(empty)

    def test_a_file_of_the_first_schema_is_read(self) -> None:
        run = '{"spec":"a","status":"finished","figures":{"lr":[0.1],"final loss":[1.0]}}'
        part = f'{{"torch":"2.0","codes":["{OLD}"],"runs":{{"hd":{run},"rtho":{run}}}}}'
        old = Canary.from_json(f'{{"schema":1,"experiment":"x","functions":{{"training":{part}}}}}'.encode())
        assert not old.kinds and old.earlier == {"training": (OLD,)}
        held = old.evidence(KIND, ["hd"])
        assert held == Evidence((), "2.0", {"hd": small(0.1)}, earlier=True)
        assert old.evidence(KIND, ["another"]) is None
        found = Finding(KIND, OTHER, (), held, {"hd": small(0.1)})
        assert found.changed and not found.listed
        freshness.write(dataclasses.replace(old, experiment=EXPERIMENT.NAME))
        canary.accept(EXPERIMENT, [found], desk={"training": None})
        kept = freshness.read(EXPERIMENT.NAME)
        assert kept is not None and kept.accepts(KIND, OLD, OTHER) and not kept.accepts(KIND, OTHER, OLD)


class TestCommand:
    @pytest.fixture(autouse=True)
    def made(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def compute(experiment: ModuleType) -> canary.SmallRuns:
            return {KIND: {"hd": small(self.rate)}}

        def compare(desks: dict[str, rerun.Desk], store: Store) -> None:
            self.compared += [*desks]
            for desk in desks.values():
                desk.differences, desk.undone = list(self.differences), self.undone

        self.rate = 0.1
        self.differences: list[str] = []
        self.undone = ""
        self.compared: list[str] = []
        monkeypatch.setattr(canary, "compute", compute)
        monkeypatch.setattr(rerun, "compare", compare)
        monkeypatch.setattr(experiments, "EXPERIMENTS", {EXPERIMENT.NAME: EXPERIMENT})

    def call(self, *options: str) -> tuple[int, str]:
        code = __main__.main(["canary", *options])
        return code, self.capsys.readouterr().out

    @pytest.fixture(autouse=True)
    def output(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def test_from_the_first_to_a_change_of_the_numbers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kept = f"{EXPERIMENT.NAME}: kept in {EXPERIMENT.NAME}.json\n"
        assert self.call("01")[0] == 1
        assert self.call("01", "--accept") == (0, kept)
        known = f"{EXPERIMENT.NAME}: training is equal in 1 small runs of 1 kinds, and known to be.\n"
        assert self.call() == (0, known)
        monkeypatch.setattr(provenance, "code_hash", lambda kind: OTHER)
        code, out = self.call()
        assert code == 1 and "is equal under changed code" in out
        assert self.call("--accept") == (0, kept) and self.call()[0] == 0
        assert not self.compared, "there is no record that would have to stay fresh"
        monkeypatch.setattr(provenance, "code_hash", lambda kind: OLD)
        self.rate = 0.2
        for options in ((), ("--accept",)):
            code, out = self.call(*options)
            assert code == 1 and "and its numbers with it" in out and "no record depends on it" in out
        assert self.call("--renew")[0] == 0 and self.call()[0] == 0

    def test_a_desk_run_is_compared_before_changed_code_is_accepted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(provenance, "code_hash", lambda kind: OLD)
        self.call("--accept")
        stores_for("desk").put(record(OLD))
        monkeypatch.setattr(provenance, "code_hash", lambda kind: OTHER)
        self.differences = ["training: lr is other"]
        code, out = self.call("--accept")
        assert code == 1 and "by both codes: training, constant on mnist" in out
        assert "training: lr is other: undo the change, or `--renew` and make those records again" in out
        assert self.call()[0] == 1, "nothing was kept"
        assert self.call("--accept", "--quick")[0] == 0 and self.compared == ["training"]
        assert __main__.main(["verify"]) == 1
        assert "was accepted by small runs alone" in self.capsys.readouterr().out
        assert self.call()[0] == 1
        self.differences, self.undone = [], "training: mnist is not here"
        code, out = self.call("--accept")
        assert code == 1 and "accepted by small runs alone: training: mnist is not here" in out
        self.undone = ""
        assert self.call("--accept")[0] == 0 and self.call()[0] == 0
        assert __main__.main(["verify"]) == 0
        assert not is_stale(record(OLD))

    def test_renewing_makes_records_stale_whose_desk_run_came_out_otherwise(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(provenance, "code_hash", lambda kind: OLD)
        self.call("--accept")
        stores_for("desk").put(record(OLD))
        monkeypatch.setattr(provenance, "code_hash", lambda kind: OTHER)
        self.differences = ["training: lr is other"]
        assert self.call("--renew")[0] == 0 and self.call()[0] == 0
        assert is_stale(record(OLD))

    def test_bad_input_is_one_sentence(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(experiments, "EXPERIMENTS", {fake_runs.NAME: fake_runs})
        for arguments, words in (("99", "99_fake has no canary: write"), ("98", "unknown experiment '98'")):
            assert __main__.main(["canary", arguments]) == 2
            said = capsys.readouterr().err
            assert words in said and said.count("\n") == 1
        assert __main__.main(["canary"]) == 0, "nothing to examine"

    @pytest.mark.parametrize(("precision", "most"), [("float64", 72), ("float32", 20)])
    def test_a_canary_must_be_small(self, precision: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        long = dataclasses.replace(specs_01.runs()["hd"], steps=most + 1, precision=precision)
        monkeypatch.setattr(specs_01, "runs", lambda: {"hd": long})
        with pytest.raises(CanaryError, match=f"'hd' in {precision} must be at most {most} steps"):
            canary.specs(EXPERIMENT)


@pytest.mark.slow
def test_a_planted_fault_is_seen_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("adatune_lite", "data/canaries"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    digits = ROOT / "data" / "scratch" / "mnist5k.npz"
    if digits.is_file():
        (tmp_path / "data" / "scratch").mkdir()
        shutil.copy(digits, tmp_path / "data" / "scratch")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    rules = tmp_path / "adatune_lite" / "rules" / "sgd.py"
    sound = rules.read_text(encoding="utf-8")
    # The tangent of SGD with the sign of its curvature term flipped: online methods only.
    faulty = sound.replace("_foreach_sub_(z[0], dg, alpha=by * lr)", "_foreach_add_(z[0], dg, alpha=by * lr)")
    assert faulty != sound, "the fault must be there to be found"
    rules.write_text(faulty, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "adatune_lite", "canary", "01"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    training, lrs_opt = sorted(run.stdout.splitlines(), key=lambda line: "lrs_opt is" in line)
    assert "The code of training has changed, and its numbers with it (rtho: " in training
    assert "; marthe: " in training and "constant" not in training and "hd" not in training
    assert "The canary of lrs_opt is equal under changed code" in lrs_opt


def test_a_store_is_all_that_a_page_needs(tmp_path: Path) -> None:
    assert WithStale(Store(tmp_path)).get(record(OLD).spec) is None
