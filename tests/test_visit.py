"""The day an accelerator is there: checks, runs and packs within minutes, by a clock of its own."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_runs
import pytest
from fake_runs import run
from test_cli import call

from adatune_lite import checkpoint, experiments
from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs import execute as execution
from adatune_lite.runs import visit as visiting
from adatune_lite.runs.execute import Summary
from adatune_lite.runs.merge import merge
from adatune_lite.runs.pack import pack
from adatune_lite.runs.store import Store
from adatune_lite.runs.visit import Check, Checked, Everything, checked, visit
from adatune_lite.training.registry import registered

ONE, TWO, THREE = (Check(name, ("true",)) for name in ("one", "two", "three"))


class Clock:
    """Seconds that pass when it is told so."""

    def __init__(self, **takes: float) -> None:
        self.now, self.takes = 1000.0, takes
        self.done: list[tuple[str, float]] = []
        self.told: list[str] = []

    def __call__(self) -> float:
        return self.now

    def check(self, check: Check, seconds: float) -> Checked:
        self.done.append((check.name, seconds))
        self.now += min(self.takes[check.name], seconds)
        return Checked(check.name != "two", "as it is")

    def make(self, seconds: float) -> Summary:
        self.done.append(("runs", seconds))
        self.now += seconds
        return Summary(done=3, left=1)

    def visit(self, seconds: float, *checks: Check) -> bool:
        return visit(seconds, checks, self.check, self.make, self.told.append, self)


class TestTime:
    def test_checks_have_a_fifth_and_runs_the_rest_but_for_the_packing(self) -> None:
        clock = Clock(one=30.0)
        assert clock.visit(600, ONE)
        assert clock.done == [("one", 120.0), ("runs", 600 - 60 - 30.0)]
        assert clock.told[0] == "one: as it is" and clock.told[1].startswith("runs: 3 made in ")

    def test_what_fails_is_written_down_and_the_rest_goes_on(self) -> None:
        clock = Clock(two=10.0, three=10.0)
        assert not clock.visit(100, TWO, THREE)
        assert [name for name, _ in clock.done] == ["two", "three", "runs"]
        assert clock.done[-1][1] == 100 - 10 - 20.0

    def test_a_check_has_what_the_one_before_it_left(self) -> None:
        clock = Clock(one=15.0, two=999.0, three=1.0)
        assert not clock.visit(100, ONE, TWO, THREE)
        assert clock.done[:2] == [("one", 20.0), ("two", 5.0)] and clock.done[2][0] == "runs"
        assert "three: not done, the checks' time is used up" in clock.told

    def test_without_time_there_are_no_runs(self) -> None:
        clock = Clock()

        def overslept(check: Check, seconds: float) -> Checked:
            clock.now += 95
            return Checked(True, "")

        assert not visit(100, [ONE], overslept, clock.make, clock.told.append, clock)
        assert clock.told[-1] == "runs: none, no time is left" and not clock.done


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (Check("a", (sys.executable, "-c", "print('fast')")), r"done \(fast\)"),
        (Check("a", (sys.executable, "-c", "print('slow'); exit(3)")), r"exit code 3 \(slow\), see a.log"),
        (Check("a", (sys.executable, "-c", "import time; time.sleep(60)")), r"stopped after .* see a.log"),
        (Check("a", ("true",), needs="no_such_module"), "not done: no_such_module is not installed here"),
        (Check("a", ("no-such-command",)), "not done: "),
    ],
    ids=["sound", "failing", "slow", "not installed", "no command"],
)
def test_a_check_ends_in_a_sentence(check: Check, words: str, tmp_path: Path) -> None:
    found = checked(check, 1.5, tmp_path, tmp_path / "a.log")
    assert re.search(words, found.words), found.words
    assert found.sound == found.words.startswith("done")


def test_the_checks_are_the_marked_tests_and_the_benchmark() -> None:
    root = Path(__file__).resolve().parent.parent
    tests, benchmark = visiting.device_checks(root, "cuda")
    assert any(path.endswith("test_device.py") for path in tests.command) and tests.needs == "pytest"
    assert benchmark.command[-2:] == ("--device", "cuda")
    assert not visiting.device_checks(root / "data", "cuda")


def planned(profile: str, priority: float, seed: int) -> Any:
    found = run(seed, priority=priority)
    return type(found)(found.spec, found.experiment, profile, found.role, priority)


@pytest.mark.usefixtures("fakes")
def test_all_experiments_are_one_plan_by_value_without_what_has_no_data() -> None:
    plans = {"paper": [planned("paper", 10, 0)], "desk": [planned("desk", 10, 1), planned("desk", 20, 2)]}
    module: Any = SimpleNamespace(plan=lambda profile, store: plans[profile])
    there = Everything([module], lambda dataset: True)
    runs = execution.missing(there.plan("", Store(Path("nowhere"))), Store(Path("nowhere")))
    assert [run.spec.seed for run in runs] == [2, 0, 1]
    nowhere = Everything([module], lambda dataset: False)
    assert nowhere.plan("", Store(Path("nowhere"))) == [] and nowhere.left_out == {"mnist5k"}


class TestPacks:
    def test_a_large_checkpoint_goes_in_parts_and_comes_back(self, tmp_path: Path, checkout: Path) -> None:
        Checkpoint(tmp_path / "big.pt", "big").save(random.Random(0).randbytes(50_000).hex())
        content = (tmp_path / "big.pt").read_bytes()
        packs = tmp_path / "packs"
        done = pack(tmp_path / "none", packs, [tmp_path / "big.pt"], limit=20_000, most=float("inf"))
        assert done.checkpoints == 1 and not done.too_large and len(done.paths) > 4
        assert all(path.stat().st_size < 20_000 for path in done.paths)
        whole = done.paths[1].read_bytes()
        done.paths[1].unlink()
        merged = merge(packs, lambda record: Store(tmp_path / "store"))
        assert merged.checkpoints == 0 and "parts of this checkpoint are missing" in merged.refused[0]
        done.paths[1].write_bytes(whole)
        merged = merge(packs, lambda record: Store(tmp_path / "store"))
        assert (merged.checkpoints, merged.refused) == (1, [])
        assert (checkpoint.folder() / "big.pt").read_bytes() == content


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> Iterator[Path]:
    """A checkout whose only experiment has a run that takes three sittings."""

    def plan(profile: str, store: Any) -> list[Any]:
        return [run(0, method="resume")] if profile == "paper" else []

    module = SimpleNamespace(NAME=fake_runs.NAME, PROFILES=fake_runs.PROFILES, plan=plan)
    monkeypatch.setattr(experiments, "EXPERIMENTS", {fake_runs.NAME: module})
    with registered(*fake_runs.FAKES):
        yield checkout


def test_the_next_visit_goes_on_from_the_packs(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "away"
    arguments = ("gpu", "--minutes", 1, "--out", out, "--pack-mb", 1, "--device", "cpu", "--jobs", 1)
    for sitting in range(3):
        code, told, _ = call(capsys, *arguments)
        assert code == 0, told
        held = sorted(p.name for p in out.rglob("*.json"))
        assert ("1 stopped under way" in told) == (sitting < 2) and len(held) == (sitting == 2)
        assert ("1 runs under way" in told) == (0 < sitting)
        assert len(list((out / "packs").iterdir())) == 1
        for path in checkpoint.folder().glob("*"):  # another machine
            path.unlink()
    assert told in ((out / "report.txt").read_text().partition("\n")[2],)
    assert "runs: 1 made in" in told and "1 records in 1 packs" in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--minutes", "0"), "'0' is no time: write a number of minutes above 0"),
        (("--minutes", "soon"), "'soon' is no time"),
        (("--minutes", "inf"), "'inf' is no time"),
        (("--pack-mb", "0"), "'0' is no size: write a whole number of MB of at least 1"),
        (("--pack-mb", "1.5"), "'1.5' is no size"),
        (("--jobs", "0"), "jobs must be at least 1, not 0"),
        (("--device", "tpu"), "the device must be cpu, cuda or auto"),
    ],
    ids=lambda change: " ".join(change) if isinstance(change, tuple) else "",
)
def test_bad_input_is_one_sentence(
    change: tuple[str, ...], words: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--minutes": "1", "--out": tmp_path / "away", "--pack-mb": "1", "--device": "cpu"}
    given |= dict([change])  # type: ignore[list-item]
    code, _, told = call(capsys, "gpu", *(x for pair in given.items() for x in pair))
    assert code == 2 and words in told and told.count("\n") == 1


def test_a_file_in_place_of_the_folder_is_refused(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code, _, told = call(capsys, "gpu", "--minutes", 1, "--out", tmp_path / "file", "--pack-mb", 1)
    assert code == 2 and "is a file: name a folder for --out" in told
