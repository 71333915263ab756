"""A run taken up again in a new process is the run that nothing stopped, to the last bit."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import resumed_runs
import torch

from adatune_lite.checkpoint import Checkpoint, CheckpointError
from adatune_lite.runs.worker import one_thread

PROGRAM = Path(__file__).parent / "resumed_runs.py"


def python(command: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(PROGRAM), command, str(folder)])


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


def test_every_tuner_rule_and_experiment_resumes_bit_for_bit_at_every_boundary(tmp_path: Path) -> None:
    both = python("stop", tmp_path), python("whole", tmp_path)
    assert [process.wait() for process in both] == [0, 0]
    assert python("finish", tmp_path).wait() == 0
    whole, resumed = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "finish"))
    cases, stops = resumed_runs.cases(), resumed_runs.STOPS
    assert len(resumed) == len(cases) * len(stops)
    faults = []
    for name in cases:
        for stop in stops:
            where = f"{name} after {stop} steps: "
            faults += differences(whole[f"{name} 0"], resumed[f"{name} {stop}"], where)
            if not whole[f"{name} 0"].get("status", "").startswith("diverged"):
                assert resumed_runs.place(tmp_path, name, stop).is_file(), f"{where} it kept no state"
    assert not faults, "\n".join(faults[:20])


def test_a_network_with_dropout_resumes_bit_for_bit(tmp_path: Path) -> None:
    """One case of the above in this process, which is quick: what a look at one fault needs."""
    case = resumed_runs.cases()["marthe momentum"]
    with one_thread():
        whole = case(tmp_path / "whole.pt", 0)
        stopped = case(tmp_path / "kept.pt", 3)
        resumed = case(tmp_path / "kept.pt", 0)
    assert stopped["trace"]["status"] == "stopped by budget"
    assert differences(whole, resumed) == []


def test_killed_at_any_moment_it_goes_on_from_its_last_step(tmp_path: Path) -> None:
    with one_thread():
        (tmp_path / "whole").mkdir()
        resumed_runs.patient(tmp_path / "whole")
    (whole,) = (tmp_path / "whole").glob("done-*.pt")
    moments, kills, known = random.Random(1), 0, tmp_path / "patient.pt"
    while not list(tmp_path.glob("done-*.pt")):
        process = python("patient", tmp_path)
        before = known.read_bytes() if known.exists() else b""
        while process.poll() is None and (not known.exists() or known.read_bytes() == before):
            time.sleep(0.01)
        if kills < 3:
            time.sleep(moments.uniform(0.0, 0.15))
            process.kill()
            kills += 1
        assert process.wait() in (0, -signal.SIGKILL)
    (done,) = tmp_path.glob("done-*.pt")
    assert kills and not known.exists()
    one, other = (torch.load(path, weights_only=True) for path in (whole, done))
    assert differences(one, other) == []


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
