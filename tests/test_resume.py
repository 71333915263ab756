"""A run taken up again in a new process is the run that nothing stopped, to the last bit."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import oracles
import pytest
import resumed_runs
import torch
from resumed_runs import State
from tuner_registry import TUNERS

from adatune_lite.checkpoint import Checkpoint, CheckpointError
from adatune_lite.runs.worker import one_thread
from adatune_lite.training import registry


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Executor]:
    """Another process, for what is taken up again: nothing that stopped here is in its memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """The places at which two nested states are not equal to the last bit."""
    if isinstance(a, torch.Tensor):
        same = isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return [] if same else [where]
    if isinstance(a, dict):
        if not isinstance(b, dict) or a.keys() != b.keys():
            return [f"{where}: keys"]
        return [found for k in a for found in differences(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{where}: length"]
        return [
            found
            for k, (x, y) in enumerate(zip(a, b, strict=True))
            for found in differences(x, y, f"{where}.{k}")
        ]
    same = a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))
    return [] if same else [f"{where}: {a!r}, not {b!r}"]


@cache
def whole(name: str) -> State:
    """What a training or run leaves that nothing stops; the same at each boundary."""
    case = next(case for case in resumed_runs.cases().values() if case.name == name)
    with TemporaryDirectory() as folder, one_thread():
        return case.run(Path(folder) / "whole.pt", 0)


@pytest.mark.parametrize("name", resumed_runs.cases())
@pytest.mark.slow
def test_resumes_bit_for_bit(name: str, tmp_path: Path, elsewhere: Executor) -> None:
    """In another process, from the state at a boundary.

    Covered, which the next test proves: every tuner with every rule, and each of both on both networks and
    at every boundary. Of the runs of experiments every setting and switch once, and all pairs of run
    function, method, optimizer, momentum, weight decay and network that meet in a run, and each of these at
    every boundary.
    """
    case, kept = resumed_runs.cases()[name], tmp_path / "state.pt"
    with one_thread(), contextlib.suppress(resumed_runs.Stopped):
        case.run(kept, case.stop)
    assert kept.is_file(), "it kept no state"
    elsewhere.submit(resumed_runs.finish, name, kept, tmp_path / "resumed.pt").result()
    resumed = torch.load(tmp_path / "resumed.pt", weights_only=True)
    assert differences(whole(case.name), resumed) == []


@pytest.mark.parametrize("kind", ["training", "run"])
def test_every_pair_of_values_of_two_factors_is_resumed(kind: str) -> None:
    every = getattr(resumed_runs, f"{kind}_product")()
    chosen = getattr(resumed_runs, f"{kind}s")()
    assert {str(case) for case in chosen} <= resumed_runs.cases().keys()
    factors = list(every[0].factors)
    for one, other in combinations(factors, 2):
        meet = {(case.factors[one], case.factors[other]) for case in every}
        assert {(case.factors[one], case.factors[other]) for case in chosen} == meet, f"{one} with {other}"
    settings = [{setting for case in cases for setting in case.settings} for cases in (every, chosen)]
    assert settings[0] == settings[1] and bool(settings[0]) == (kind == "run")
    assert len(chosen) <= len(every) / 2, "else the full product costs little more"


def test_nothing_is_missing_from_the_product() -> None:
    trainings, runs = resumed_runs.training_product(), resumed_runs.run_product()
    assert {case.factors["tuner"] for case in trainings} == set(TUNERS)
    rules = {setting.name for setting in oracles.SETTINGS if setting.options.get("eps") != 0.0}
    assert {case.factors["rule"] for case in trainings} == rules
    registry.load()
    resumable = {name for name, function in registry.FUNCTIONS.items() if function.resumable}
    assert {case.factors["function"] for case in runs} == resumable
    assert len(trainings) == len(TUNERS) * len(rules) * 2 * 4


def test_a_network_with_dropout_resumes_bit_for_bit(tmp_path: Path) -> None:
    """One case of the above in this process alone, which is quick: what a look at one fault needs."""
    case = next(c for c in resumed_runs.training_product() if c.name == "marthe momentum random")
    with one_thread():
        stopped = case.run(tmp_path / "kept.pt", 3)
        resumed = case.run(tmp_path / "kept.pt", 0)
        never_stopped = case.run(tmp_path / "whole.pt", 0)
    assert stopped["trace"]["status"] == "stopped by budget"
    assert differences(never_stopped, resumed) == []


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_from_its_last_step(tmp_path: Path) -> None:
    one, other = tmp_path / "killed", tmp_path / "whole"
    one.mkdir()
    other.mkdir()
    program = [sys.executable, str(resumed_runs.__file__), str(one), "3"]
    process = subprocess.run(program, capture_output=True, text=True, check=False)
    assert process.stdout.split() == ["3"], process.stderr
    with one_thread():
        resumed_runs.patient(other)
    assert not (one / "patient.pt").exists()
    states = [torch.load(next(folder.glob("done-*.pt")), weights_only=True) for folder in (one, other)]
    assert differences(*states) == []


def test_checkpoint_comes_back_whole_with_the_time_spent(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "deep" / "run.pt", "run", spent=5.0)
    assert checkpoint.load() is None
    checkpoint.save({"w": torch.tensor([0.1], dtype=torch.float64), "step": 3})
    again = Checkpoint(checkpoint.path, "run")
    state = again.load()
    assert state is not None and torch.equal(state["w"], torch.tensor([0.1], dtype=torch.float64))
    assert state["step"] == 3 and again.seconds() >= 5


@pytest.mark.parametrize("damage", ["torn", "empty", "garbage", "flipped"])
def test_damaged_checkpoint_is_refused_and_kept(tmp_path: Path, damage: str) -> None:
    checkpoint = Checkpoint(tmp_path / "run.pt", "run")
    checkpoint.save({"w": torch.ones(100)})
    good = checkpoint.path.read_bytes()
    middle = len(good) // 2
    bad = {
        "torn": good[:-100],
        "empty": b"",
        "garbage": b"garbage",
        "flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
    }[damage]
    checkpoint.path.write_bytes(bad)
    with pytest.raises(CheckpointError, match="damaged: delete it to start anew"):
        checkpoint.load()
    assert checkpoint.path.read_bytes() == bad


def test_checkpoint_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.pt", "one run")
    checkpoint.save({"step": 1})
    before = checkpoint.path.read_bytes()
    with pytest.raises(CheckpointError, match="belongs to 'one run', not to 'another'"):
        Checkpoint(checkpoint.path, "another").load()
    assert checkpoint.path.read_bytes() == before


def test_full_disk_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "run.pt", "run")
    checkpoint.save(1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(2)
    assert checkpoint.load() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
