"""LRS-OPT lowers E over the schedule, inside its bounds, never above its start, resumable to the last bit."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import BY_NAME, Task
from torch import Tensor

import adatune_lite as al
from adatune_lite.checkpoint import HEAD, CheckpointError
from adatune_lite.engine.hypergradient import Problem, final_loss
from adatune_lite.engine.lrs_opt import LRSOptResult, OuterStep, lrs_opt

T = 6
START = [0.05] * T
both = pytest.mark.parametrize("outer_optimizer", ["adam", "gradient"])


def problem(task: Task | None = None) -> Problem:
    task = task or Task(seed=1)
    return Problem(tuple(task.start), task.train, task.outer)


def everything(result: LRSOptResult) -> str:
    """All digits of a result (as text: a NaN equals itself there)."""
    rest = [result.final_loss, result.hypergradients, result.trainings]
    return repr([result.schedule.tolist(), [astuple(step) for step in result.history], rest])


@both
@pytest.mark.parametrize("name", ["sgd", "momentum_decay", "adam"])
def test_lowers_the_final_loss(name: str, outer_optimizer: str) -> None:
    rule, p = BY_NAME[name].rule, problem()
    result = lrs_opt(p, START, rule, outer_steps=6, outer_optimizer=outer_optimizer)
    first = final_loss(p, START, rule)
    assert result.history[0].final_loss == first
    assert result.final_loss < 0.98 * first
    assert result.schedule.dtype is torch.float64
    assert result.schedule.shape == (T,)
    # the schedule that is handed back is the one that was measured
    assert final_loss(p, result.schedule, rule) == result.final_loss
    bests = [step.best for step in result.history]
    assert bests == sorted(bests, reverse=True)
    assert bests[-1] == result.final_loss == min(step.final_loss for step in result.history)
    assert result.hypergradients == 6
    assert [step.step for step in result.history] == list(range(7))


def test_projected_gradient_never_rises() -> None:
    """Also from a first step that is much too long: it is halved until E falls."""
    options: dict[str, Any] = {"outer_optimizer": "gradient", "outer_lr": 100.0, "lr_max": 5.0}
    result = lrs_opt(problem(), START, al.rules.SGD(), outer_steps=6, **options)
    losses = [step.final_loss for step in result.history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert result.trainings > 7


def test_hands_back_the_best_schedule_and_not_the_last() -> None:
    result = lrs_opt(problem(), START, al.rules.SGD(), outer_steps=4, outer_lr=0.4, lr_max=5.0)
    losses = [step.final_loss for step in result.history]
    assert losses[-1] > min(losses)
    assert result.final_loss == min(losses)
    assert final_loss(problem(), result.schedule, al.rules.SGD()) == min(losses)


def test_adam_equals_a_line_by_line_loop() -> None:
    """Clipping to norm 1, Adam's moments, cosine decay of the outer rate, projection."""
    rule, steps = al.rules.SGD(), 5
    eta = torch.tensor(START, dtype=torch.float64)
    m = v = torch.zeros_like(eta)
    for k in range(steps):
        _, slope = al.schedule_hypergradient(problem(), eta, rule)
        slope = slope / max(1.0, float(slope.norm()))
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        step = (m / (1 - 0.9 ** (k + 1))) / ((v / (1 - 0.999 ** (k + 1))).sqrt() + 1e-8)
        eta = (eta - 0.02 * (1 + math.cos(math.pi * k / steps)) / 2 * step).clamp(0.0, 1.0)
    result = lrs_opt(problem(), START, rule, outer_steps=steps)
    assert result.history[-1].best == result.history[-1].final_loss  # the last one is the best here
    torch.testing.assert_close(result.schedule, eta, rtol=1e-10, atol=1e-14)


@both
def test_stays_in_its_bounds(outer_optimizer: str) -> None:
    seen: list[OuterStep] = []
    options: dict[str, Any] = {"outer_optimizer": outer_optimizer, "outer_lr": 1.0, "on_step": seen.append}
    result = lrs_opt(problem(), START, al.rules.SGD(), outer_steps=6, lr_min=0.04, lr_max=0.07, **options)
    assert float(result.schedule.min()) >= 0.04
    assert float(result.schedule.max()) <= 0.07
    assert 0.07 in result.schedule.tolist() or 0.04 in result.schedule.tolist()
    assert [astuple(s) for s in seen] == [astuple(s) for s in result.history]


def test_first_adam_step_moves_each_rate_by_the_outer_rate() -> None:
    """Bias-corrected Adam starts with lr * sign(slope): 0.02 by default, or to the bound 0."""
    rule, p = al.rules.SGD(), problem()
    _, slope = al.schedule_hypergradient(p, START, rule)
    result = lrs_opt(p, START, rule, outer_steps=1)
    expected = torch.tensor(START, dtype=torch.float64) - 0.02 * slope.sign()
    torch.testing.assert_close(result.schedule, expected.clamp(0, 1), rtol=1e-5, atol=0)


def test_gradient_is_clipped_by_norm() -> None:
    """With Adam a common factor drops out; its eps makes a tiny clip visible as a smaller step."""
    p, start = problem(), torch.tensor(START, dtype=torch.float64)
    small = lrs_opt(p, START, al.rules.SGD(), outer_steps=1, clip_norm=1e-9)
    large = lrs_opt(p, START, al.rules.SGD(), outer_steps=1)
    assert float((small.schedule - start).norm()) < 0.2 * float((large.schedule - start).norm())


@both
def test_no_outer_step_only_measures(outer_optimizer: str) -> None:
    result = lrs_opt(problem(), START, al.rules.SGD(), outer_steps=0, outer_optimizer=outer_optimizer)
    assert result.schedule.tolist() == START
    assert result.final_loss == final_loss(problem(), START, al.rules.SGD())
    assert (result.hypergradients, result.trainings) == (0, 1)


@both
def test_checkpoints_and_kept_graphs_change_no_digit(outer_optimizer: str) -> None:
    options: dict[str, Any] = {"outer_steps": 3, "outer_optimizer": outer_optimizer}
    stored = lrs_opt(problem(), START, BY_NAME["adam"].rule, **options)
    for ways in ({"checkpoints": 3}, {"keep_graph": True}):
        assert everything(lrs_opt(problem(), START, BY_NAME["adam"].rule, **options, **ways)) == everything(
            stored
        )


class Interrupted(Exception):
    pass


@both
@pytest.mark.parametrize("boundary", range(6))
def test_resumes_bit_for_bit(boundary: int, outer_optimizer: str, tmp_path: Path) -> None:
    """Interrupted at each of the six evaluations of five outer steps, the last one included."""
    options: dict[str, Any] = {"outer_steps": 5, "outer_optimizer": outer_optimizer}
    rule, p, file = BY_NAME["momentum"].rule, problem(), tmp_path / "folder" / "state.pt"
    whole = lrs_opt(p, START, rule, **options)
    calls = []

    def stop(step: OuterStep) -> None:
        calls.append(step)
        if len(calls) == boundary + 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        lrs_opt(p, START, rule, resume=file, on_step=stop, **options)
    assert everything(lrs_opt(p, START, rule, resume=file, **options)) == everything(whole)
    # a finished search is read, not repeated
    assert everything(lrs_opt(p, START, rule, resume=file, on_step=stop, **options)) == everything(whole)
    assert len(calls) == boundary + 1
    assert [f.name for f in file.parent.iterdir()] == ["state.pt"]


def test_resume_refuses_another_call_and_a_damaged_file(tmp_path: Path) -> None:
    file, rule = tmp_path / "state.pt", al.rules.SGD()
    lrs_opt(problem(), START, rule, outer_steps=1, resume=file)
    kept = file.read_bytes()
    for schedule, other, options, words in (
        ([0.04] * T, rule, {"outer_steps": 1}, "start differs"),
        (START[:-1], rule, {"outer_steps": 1}, "start differs"),
        (START, al.rules.SGD(0.9), {"outer_steps": 1}, "rule differs"),
        (START, rule, {"outer_steps": 2}, "options differs"),
        (START, rule, {"outer_steps": 1, "outer_optimizer": "gradient"}, "options differs"),
    ):
        with pytest.raises(ValueError, match=words):
            lrs_opt(problem(), schedule, other, resume=file, **options)
    assert file.read_bytes() == kept
    file.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(ValueError, match="damaged: delete it to start anew"):
        lrs_opt(problem(), START, rule, outer_steps=1, resume=file)


def packed(body: bytes) -> bytes:
    return HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return packed(buffer.getvalue())


def foreign() -> dict[str, Any]:
    """Changes of the content of a checkpoint, each to something that was never saved."""
    of_state = {
        **{
            "schedule": torch.zeros(T + 1),
            "best_schedule": None,
            "m": None,
            "v": [0.0] * T,
            "best": math.nan,
        },
        **{"outer_lr": "0.1", "step": 0.5, "failures": -1, "hypergradients": None, "history": [3]},
    }
    found: dict[str, Any] = {
        "list": lambda kept: [1],
        "tensor": lambda kept: torch.zeros(2),
        "no owner": lambda kept: {"state": kept["state"]},
        "seconds": lambda kept: {**kept, "seconds": "x"},
        "class": lambda kept: {**kept, "state": al.rules.SGD()},
        "weights": lambda kept: {**kept, "state": torch.nn.Linear(2, 2).state_dict()},
        "empty": lambda kept: {**kept, "state": []},
        "no settings": lambda kept: {**kept, "state": {"states": kept["state"]["states"]}},
        "no states": lambda kept: {**kept, "state": {**kept["state"], "states": []}},
        "unknown": lambda kept: {**kept, "state": {**kept["state"], "states": [{"a": 1}]}},
        "start": lambda kept: {
            **kept,
            "state": {**kept["state"], "settings": {**kept["state"]["settings"], "start": "x"}},
        },
    }
    for name, value in of_state.items():

        def change(kept: Any, name: str = name, value: Any = value) -> Any:
            (state,) = kept["state"]["states"]
            return {**kept, "state": {**kept["state"], "states": [{**state, name: value}]}}

        found[name] = change
    return found


@pytest.mark.parametrize("change", foreign())
def test_a_foreign_checkpoint_is_refused_and_stays(change: str, tmp_path: Path) -> None:
    file, rule = tmp_path / "state.pt", al.rules.SGD()
    lrs_opt(problem(), START, rule, outer_steps=1, resume=file)
    _, _, body = file.read_bytes().partition(b"\n")
    given = saved(foreign()[change](torch.load(io.BytesIO(body), weights_only=True)))
    file.write_bytes(given)
    with pytest.raises(CheckpointError, match=r"saved here|has saved|start differs"):
        lrs_opt(problem(), START, rule, outer_steps=1, resume=file)
    assert file.read_bytes() == given


def test_what_torch_cannot_read_and_folders_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    for body in (b"x", pickle.dumps({"owner": "lrs_opt"})):
        file.write_bytes(packed(body))
        with pytest.raises(CheckpointError, match="was not saved here: move it away"):
            lrs_opt(problem(), START, al.rules.SGD(), outer_steps=1, resume=file)
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        lrs_opt(problem(), START, al.rules.SGD(), outer_steps=1, resume=tmp_path)


def cliff() -> Problem:
    """E falls towards a mean rate of 0.06 and is not a number beyond: the outer steps run over that cliff."""
    w0 = torch.zeros(1, dtype=torch.float64)

    def outer(w: Sequence[Tensor]) -> Tensor:
        return (2.0 - w[0].sum()) * torch.where(w[0].sum().detach() > 0.06 * T, math.nan, 1.0)

    return Problem((w0,), lambda w, t: -w[0].sum(), outer)


@both
def test_recovers_from_divergence(outer_optimizer: str) -> None:
    """A step too far goes back to the best schedule with a smaller step, and then finds lower values."""
    result = lrs_opt(
        cliff(), START, al.rules.SGD(), outer_steps=12, outer_optimizer=outer_optimizer, outer_lr=0.05
    )
    assert result.final_loss < result.history[0].final_loss == 2.0 - 0.05 * T
    assert math.isfinite(result.final_loss)
    assert float(result.schedule.sum()) <= 0.06 * T
    if outer_optimizer == "adam":
        assert any(math.isnan(step.final_loss) for step in result.history)


def test_start_that_diverges_ends_the_search() -> None:
    result = lrs_opt(cliff(), [0.5] * T, al.rules.SGD(), outer_steps=12)
    assert len(result.history) == result.hypergradients == 1
    assert result.final_loss == math.inf
    assert result.schedule.tolist() == [0.5] * T


def test_stationary_start_stays() -> None:
    """All rates rest on the bound: nothing moves, and the outer step does not grow without end."""
    p = Problem((torch.zeros(1, dtype=torch.float64),), lambda w, t: -w[0].sum(), lambda w: w[0].sum())
    options: dict[str, Any] = {"outer_optimizer": "gradient", "outer_lr": 1e300}
    result = lrs_opt(p, [0.0] * 3, al.rules.SGD(), outer_steps=40, **options)  # 1e300 * 2^40 is infinite
    assert result.schedule.tolist() == [0.0] * 3
    assert result.final_loss == 0.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outer_steps": -1}, "outer_steps"),
        ({"outer_steps": True}, "outer_steps"),
        ({"outer_steps": 1.5}, "outer_steps"),
        ({"outer_steps": 1, "outer_optimizer": "newton"}, "adam, gradient"),
        ({"outer_steps": 1, "outer_lr": 0.0}, "outer_lr"),
        ({"outer_steps": 1, "outer_lr": math.nan}, "outer_lr"),
        ({"outer_steps": 1, "outer_lr": "a"}, "outer_lr"),
        ({"outer_steps": 1, "clip_norm": 0.0}, "clip_norm"),
        ({"outer_steps": 1, "clip_norm": "a"}, "clip_norm must be a number above 0, not 'a'"),
        ({"outer_steps": 1, "lr_min": None}, "lr_min must be a number, not None"),
        ({"outer_steps": 1, "lr_max": "1"}, "lr_max must be a number"),
        ({"outer_steps": 1, "resume": 3}, "resume must be a file, or something with save and load, not 3"),
        ({"outer_steps": 1, "lr_min": 0.06}, "must hold the start"),
        ({"outer_steps": 1, "lr_max": 0.04}, "must hold the start"),
        ({"outer_steps": 1, "lr_min": -0.1}, "not be negative"),
        ({"outer_steps": 1, "checkpoints": T + 1}, "checkpoints"),
        ({"outer_steps": 1, "checkpoints": 2, "keep_graph": True}, "keep_graph recomputes nothing"),
    ],
)
def test_bad_arguments(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lrs_opt(problem(), START, al.rules.SGD(), **options)


def test_bad_schedule_and_optimizer() -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        lrs_opt(problem(), [math.nan], al.rules.SGD(), outer_steps=1)
    adagrad = torch.optim.Adagrad([torch.zeros(1, requires_grad=True)])
    with pytest.raises(al.UnsupportedOptimizer):
        lrs_opt(problem(), START, adagrad, outer_steps=1)
