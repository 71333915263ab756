"""Methods by name: AutoLR, the plateau and cycled momentum as runs, their cost, settings and decisions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import one_thread
from adatune_lite.schedules import mirrored_momentum, schedule
from adatune_lite.tasks.data import image_task
from adatune_lite.tasks.models import build
from adatune_lite.tasks.spec import TaskSpec, Value, pairs
from adatune_lite.training.context import Context
from adatune_lite.training.functions import training
from adatune_lite.training.loop import train
from adatune_lite.training.making import make_tuner, superbatches
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import AutoLR, CycledMomentum, FixedSchedule, ReduceOnPlateau
from adatune_lite.tuners.autolr.log import DECISIONS, PHASES, REASONS, reason_code

TASK = TaskSpec("mnist5k", train=200, validation=40, test=40, hidden=(8,), batch=20)
AUTOLR: dict[str, Value] = {"lr": 0.1, "explore_steps": 8, "window": 4, "samples": 3, "superbatch": 5}


def spec(method: str, settings: dict[str, Value], steps: int = 16, **more: Any) -> RunSpec:
    return RunSpec("training", TASK, method, steps, 0, pairs(settings), precision="float64", **more)


def made(run: RunSpec, folder: Path) -> Outcome:
    with one_thread():
        return training(run, Context("cpu", Store(folder), Checkpoint(folder / "kept.pt", "test")))


def values(outcome: Outcome, name: str) -> list[float]:
    found = outcome.series[name]
    return [float(v) for v in (found.values if isinstance(found, Series) else found)]


PAPER, LEAN, TWICE = (5, 100, 1000), (3, 50, 1000), (5, 100, 391 // 2)
"""(samples, mini-batches, window): Appendix C's, its lean one, two decisions in an epoch of 391 steps."""


@pytest.mark.parametrize(
    ("setting", "least", "most"),
    [(PAPER, 0.166, 0.17), (LEAN, 0.049, 0.06), (TWICE, 0.8, 0.9)],
    ids=["paper", "lean", "twice an epoch"],
)
def test_explore_costs_what_appendix_c_says(setting: tuple[int, int, int], least: float, most: float) -> None:
    """Counted in a training, forward pass by forward pass; the check at the start is not counted."""
    samples, batches, window = setting
    task = image_task(TaskSpec("mnist5k", train=200, validation=10, test=10, batch=2), dtype=torch.float64)
    net, passes = torch.nn.Linear(784, 10).double(), 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += not torch.is_grad_enabled()

    net.register_forward_hook(count)
    tuner = AutoLR(torch.optim.SGD(net.parameters(), lr=1e-3), window, window=window, samples=samples)
    with one_thread():
        trace = train(net, tuner, task, seed=0, steps=window, look=superbatches(task, 0, batches))
    assert [d.phase for d in tuner.log] == ["explore"] and len(tuner.log[0].losses) == samples
    observed, checked = len(trace.observed), 2 * batches
    assert tuner.looks * batches == samples * batches == passes - checked - observed
    assert trace.look_steps == pytest.approx(samples * batches / 3)
    assert trace.plain_steps - window == pytest.approx(trace.look_steps)
    assert least <= trace.look_steps / window <= most


def test_explore_longer_than_the_training_is_refused_where_the_length_is_known() -> None:
    task, net = image_task(TASK), build("mlp", hidden=(8,))
    tuner = AutoLR(torch.optim.SGD(net.parameters(), lr=0.1), explore_steps=1000)
    with pytest.raises(ValueError, match="at most the training's 6 steps, not 1000"):
        train(net, tuner, task, seed=0, steps=6, look=superbatches(task, 0, 2))


def test_the_plateau_pays_for_its_looks_alone(tmp_path: Path) -> None:
    outcome = made(spec("plateau", {"lr": 0.1, "patience": 0, "threshold": 0.99}, steps=40), tmp_path)
    epochs = 4  # 10 steps each, looks at 40 images with batches of 20
    assert outcome.cost["plain_steps"] == pytest.approx(40 + epochs * 40 / 20 / 3)
    lr = values(outcome, "lr")
    assert lr[:20] == [0.1] * 20 and lr[20] == pytest.approx(0.01), "lower after the second epoch's look"
    assert "look_steps" not in outcome.cost and "decision" not in outcome.series


def test_the_plateau_looks_at_the_validation_loss() -> None:
    task = image_task(TASK)
    net = build("mlp", seed=0, hidden=(8,))
    tuner = ReduceOnPlateau(torch.optim.SGD(net.parameters(), lr=0.1), 10)
    trace = train(net, tuner, task, seed=0, steps=20, look=lambda k: [task.validation()])
    assert tuner.looks == 2
    assert tuner.state_dict()["plateau"]["best"] == trace.validation_loss[-1]


def test_decisions_go_into_the_record(tmp_path: Path) -> None:
    run = spec("autolr", {**AUTOLR, "saturation": False}, steps=24)
    outcome = made(run, tmp_path)
    record = Record.from_json(Record.of(run, outcome, code="0" * 64, device="cpu").to_json())
    steps, codes = record.series("decision")
    assert steps.tolist() == [4, 8, 12, 16, 20, 24]
    _, lr = record.series("lr")
    _, before = record.series("decision_lr")
    _, after = record.series("decision_new_lr")
    assert after == pytest.approx([lr[s - 1] for s in steps])
    assert before == pytest.approx([lr[s - 2] for s in steps])
    for code, a, b in zip(codes, before, after, strict=True):
        decision = DECISIONS[int(code)]
        assert decision == ("keep" if a == b else "raise" if b > a else "lower") or decision == "rollback"
        assert record.metrics[decision] > 0
    assert sum(record.metrics[name] for name in DECISIONS) == 6 and len(set(codes)) > 1
    fitted = ~torch.tensor(record.series("fit_k0")[1]).isnan()
    assert record.metrics["fits"] == int(fitted.sum()) > 0
    width, k = record.series("sample_width")[1], [record.series(f"fit_k{i}")[1] for i in range(3)]
    for i, place in enumerate((-1, 0, 1)):  # three samples lie on their parabola
        eps = place * width
        expected = k[0] + k[1] * eps + k[2] * eps**2
        assert record.series(f"sample_{i}")[1] == pytest.approx(expected, nan_ok=True, rel=1e-8)
    minimum = record.series("fit_minimum")[1]
    assert minimum == pytest.approx(
        [-b / (2 * c) if c > 0 else math.nan for b, c in zip(*k[1:], strict=True)], nan_ok=True
    )
    assert math.isfinite(record.series("drop_rate")[1][-1])
    phases = [PHASES[int(code)] for code in record.series("decision_phase")[1]]
    assert phases == ["explore"] * 2 + ["exploit"] * 4
    reasons = [REASONS[int(code)] for code in record.series("decision_reason")[1]]
    rolled = [DECISIONS[int(code)] == "rollback" for code in codes]
    assert rolled == [reason == "the drop rate fell" for reason in reasons] and any(rolled)
    assert record.series("superbatch")[1][fitted].tolist() == list(range(int(fitted.sum())))
    assert (
        record.cost["look_steps"] == pytest.approx(outcome.cost["plain_steps"] - 24)
        and record.cost["look_steps"] > 0
    )


def test_the_threshold_of_saturation_goes_into_the_record(tmp_path: Path) -> None:
    series = made(spec("autolr", {**AUTOLR, "saturation": 5.0}, steps=24), tmp_path)
    drops, thresholds = values(series, "drop_rate"), values(series, "saturation_threshold")
    assert all(map(math.isnan, thresholds[:2])) and thresholds[2] == pytest.approx(drops[0] / 5)
    for code, drop, threshold in zip(values(series, "decision_reason"), drops, thresholds, strict=True):
        if REASONS[int(code)] == "not saturated":
            assert drop >= threshold
        elif threshold == threshold:
            assert drop < threshold


def test_every_reason_has_a_code() -> None:
    assert [reason_code(reason) for reason in REASONS] == list(range(len(REASONS)))
    assert REASONS[reason_code("explore only raises (minimum is below)")] == "explore only raises"


def test_a_safeguard_is_switched_off_by_false(tmp_path: Path) -> None:
    off = {"saturation": False, "epsilon_threshold": False, "rollback": False}
    context = Context("cpu", Store(tmp_path), Checkpoint(tmp_path / "kept.pt", "test"))
    for name in off:
        tuner: Any = make_tuner(spec("autolr", {**AUTOLR, name: False}), build("mlp"), context)
        held = {n: getattr(tuner, n) for n in off}
        assert held[name] in (None, False)
        assert all(held[n] for n in off if n != name)


def test_momentum_mirrors_the_cycle(tmp_path: Path) -> None:
    context = Context("cpu", Store(tmp_path), Checkpoint(tmp_path / "kept.pt", "test"))
    cycle: dict[str, Value] = {"lr": 0.5, "momentum_low": 0.8, "momentum_high": 0.9}
    run = spec("one_cycle_linear", cycle, optimizer_settings=pairs({"momentum": 0.9}))
    tuner = make_tuner(run, build("mlp"), context)
    assert isinstance(tuner, CycledMomentum)
    rates = schedule("one_cycle_linear", 16, lr=0.5)
    assert tuner.schedule == rates.tolist()
    assert tuner.momentum == mirrored_momentum(rates, 0.05, low=0.8, high=0.9).tolist()
    assert (tuner.momentum[0], min(tuner.momentum)) == (0.9, 0.8)
    plain = make_tuner(spec("one_cycle_linear", {"lr": 0.5}), build("mlp"), context)
    assert type(plain) is FixedSchedule


def test_a_staircase_explores_for_its_share_and_halves_the_rest(tmp_path: Path) -> None:
    """AutoLR, Table 1: 0.1 for the explore epochs, half of the remaining ones at 0.01, half at 0.001."""
    context = Context("cpu", Store(tmp_path), Checkpoint(tmp_path / "kept.pt", "test"))
    tuner: Any = make_tuner(spec("staircase", {"lr": 0.1, "explore": 0.25}), build("mlp"), context)
    assert tuner.schedule == pytest.approx([0.1] * 4 + [0.01] * 6 + [0.001] * 6)


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("autolr", {"lr": 0.1}, "the method 'autolr' needs the setting 'explore_steps'"),
        ("autolr", {"explore_steps": 3}, "the method 'autolr' needs the setting 'lr'"),
        ("autolr", {**AUTOLR, "explore_steps": 17}, "at most the training's 16 steps, not 17"),
        ("autolr", {**AUTOLR, "superbatch": 11}, "a superbatch has 1 to 10 batches, not 11"),
        ("constant", {}, "the method 'constant' needs the setting 'lr'"),
    ],
)
def test_what_a_run_cannot_do_is_refused_in_a_sentence(
    method: str, settings: dict[str, Value], words: str, tmp_path: Path
) -> None:
    """What a spec cannot be is refused before: see test_spec."""
    with pytest.raises(ValueError, match=words):
        made(spec(method, settings), tmp_path)
