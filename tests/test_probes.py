"""Losses along the steps of a training, against closed forms and a twin; the training goes on untouched."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.engine.eigenvalue import TopEigenvalue
from adatune_lite.runs.record import LIMIT, Record
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import one_thread
from adatune_lite.schedules import schedule
from adatune_lite.tasks.data import image_task
from adatune_lite.tasks.models import build
from adatune_lite.tasks.spec import TaskSpec, pairs
from adatune_lite.training import generalisation, registry
from adatune_lite.training.context import Context
from adatune_lite.training.line import Line, LineProbe
from adatune_lite.training.loop import averaged_loss, evaluate, train
from adatune_lite.training.making import superbatches
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.probes import compare
from adatune_lite.training.quadratic import GRID, SAMPLES, WIDE, minimum, move, quality
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import FixedSchedule

TASK = TaskSpec("mnist5k", train=200, validation=40, test=40, hidden=(8,), batch=10)


def run(function: str, steps: int = 12, **settings: Any) -> RunSpec:
    optimizer = {"optimizer": "adam"} if settings.pop("adam", False) else {}
    given = pairs({"lr": 0.1, **settings})
    return RunSpec(function, TASK, "cosine", steps, 0, given, precision="float64", **optimizer)


def made(spec: RunSpec, folder: Path) -> Outcome:
    with one_thread():
        context = Context("cpu", Store(folder), Checkpoint(folder / "kept.pt", "test"))
        return registry.function(spec.function).run(spec, context)


def values(outcome: Outcome, name: str) -> list[float]:
    found = outcome.series[name]
    return [float(v) for v in (found.values if isinstance(found, Series) else found)]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_line_of_a_bowl_is_its_parabola(optimizer: str) -> None:
    """L(w) = w.w / 2: along any step, L(u) = |w - lr (1 + u) d|^2 / 2, with its minimum at d.x / lr d.d."""
    w = torch.tensor([3.0, -1.0], dtype=torch.float64, requires_grad=True)
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    seen = []

    def measure(step: int, line: Line) -> dict[str, list[float]]:
        seen.append((before[-1], w.detach().clone(), line.lr))
        return {"line": [line.losses(u, [0, 7])[1] for u in GRID]}

    def bowl(k: int = 0) -> Tensor:
        return (1 + k) * (w @ w) / 2

    before: list[Tensor] = []
    tuner = LineProbe(kinds[optimizer]([w], lr=0.3), [0.3, 0.17, 0.1], [2, 3], measure)
    for _ in range(3):
        before.append(w.detach().clone())
        tuner.step(bowl, bowl)
    assert list(tuner.found) == [2, 3] and tuner.looks == 2 * 2 * len(GRID)
    for (x, y, lr), losses in zip(seen, tuner.found.values(), strict=True):
        points = [x + (1 + u) * (y - x) for u in GRID]
        assert losses["line"] == pytest.approx([float(4 * p @ p) for p in points], rel=1e-12)
        found = quality(losses["line"], 0.5)
        assert found.r2 == pytest.approx(1) and found.radius == max(GRID)
        d = (x - y) / lr
        assert minimum(found.fit) == pytest.approx(float(d @ y / (d @ d)) / lr, rel=1e-6)


def twin(steps: int) -> tuple[list[list[Tensor]], list[Any], Any]:
    """Weights after every step of the same training with nothing around it, and its batches."""
    task = image_task(TASK, dtype=torch.float64)
    net = build("mlp", seed=0, hidden=(8,)).double()
    tuner = FixedSchedule(torch.optim.SGD(net.parameters(), lr=0.1), schedule("cosine", steps, lr=0.1))
    states = [[p.detach().clone() for p in net.parameters()]]
    for t in range(steps):
        batch = task.batch(0, t)
        tuner.step(lambda batch=batch: averaged_loss(net, [batch]))
        states.append([p.detach().clone() for p in net.parameters()])
    return states, [superbatches(task, 0, 4)(k) for k in (6, 12)], net


def at(net: Any, x: list[Tensor], y: list[Tensor], u: float, batches: Any) -> float:
    """The loss on the line from x through y, 1 + u times as far."""
    with torch.no_grad():
        for p, a, b in zip(net.parameters(), x, y, strict=True):
            p.copy_(a + (1 + u) * (b - a))
        return float(averaged_loss(net, batches))


def test_quadratic_fit_measures_the_steps_of_a_training_that_it_leaves_alone(tmp_path: Path) -> None:
    outcome = made(run("quadratic_fit", probes=2, superbatch=4), tmp_path)
    plain = made(replace(run("training")), tmp_path)
    assert outcome.status == "finished" and values(outcome, "train_loss") == values(plain, "train_loss")
    assert values(outcome, "lr") == values(plain, "lr")
    assert outcome.metrics["validation_loss"] == plain.metrics["validation_loss"]
    states, batches, net = twin(12)

    lows = values(outcome, "fit_minimum")
    for k, step in enumerate((6, 12)):
        line = values(outcome, f"line {step}")
        x, y = states[step - 1], states[step]
        assert line == pytest.approx([at(net, x, y, u, batches[k]) for u in GRID], rel=1e-9)
        found = quality(line, 0.5)
        assert lows[k] == pytest.approx(minimum(found.fit), nan_ok=True)
        if abs(lows[k]) <= max(GRID):
            there = at(net, x, y, lows[k], batches[k])
            assert values(outcome, "loss_at_minimum")[k] == pytest.approx(there, rel=1e-9)
        assert values(outcome, "probe_lr")[k] == values(outcome, "lr")[step - 1]
    looks = 2 * len(GRID) + sum(abs(low) <= max(GRID) for low in lows)
    assert looks > 2 * len(GRID), "one minimum at least is looked up"
    assert outcome.cost["look_steps"] == pytest.approx(looks * 4 / 3)
    assert outcome.cost["plain_steps"] == pytest.approx(12 + looks * 4 / 3)


@pytest.mark.parametrize("threshold", [1e-3, False, 1e-9])
def test_superbatch_size_against_all_mini_batches(threshold: float, tmp_path: Path) -> None:
    """The reference is AutoLR's move from the whole training part, within its trust bound."""
    given = {"probes": 2, "superbatch": 20, "draws": 8, "epsilon_threshold": threshold}
    outcome = made(run("superbatch_size", **given), tmp_path)
    assert outcome.cost["look_steps"] == pytest.approx(2 * 5 * 20 / 3)
    sizes = {name.split()[1] for name in outcome.series if name.startswith("agree_5 ")}
    assert sizes == {"1", "2", "5", "10"}, "up to half of the mini-batches"
    states, _, net = twin(12)
    whole = [image_task(TASK, dtype=torch.float64).training()]
    for k, step in enumerate((6, 12)):
        x, y = states[step - 1], states[step]
        lr, loss = values(outcome, "probe_lr")[k], at(net, y, y, 0, whole)
        assert values(outcome, "loss")[k] == pytest.approx(loss)
        most = min(0.5, math.cbrt(threshold * loss) / lr) if threshold else 0.5
        width = min(0.2, most)
        places = [-width, -width / 2, 0.0, width / 2, width]
        losses = [at(net, x, y, u, whole) for u in places]
        assert values(outcome, "move")[k] == pytest.approx(move(places, losses, most), rel=1e-6)
        assert values(outcome, "move_3")[k] == pytest.approx(move(places[::2], losses[::2], most), rel=1e-6)
        assert values(outcome, "loss_std 1")[k] > values(outcome, "loss_std 10")[k] > 0


@pytest.mark.parametrize("threshold", [1e-3, 1e-9])
def test_superbatch_size_keeps_its_samples_within_the_trust_bound(
    threshold: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A narrow bound clips every move to its edge, whatever was sampled: only the samples themselves tell."""
    asked: list[float] = []
    losses = Line.losses

    def watched(line: Line, u: float, superbatches: Any) -> list[float]:
        asked.append(u)
        return losses(line, u, superbatches)

    monkeypatch.setattr(Line, "losses", watched)
    given = {"probes": 2, "superbatch": 20, "draws": 2, "epsilon_threshold": threshold}
    outcome = made(run("superbatch_size", **given), tmp_path)
    # The first probe: the cosine's last rate is so small that no bound is narrow for it.
    loss, lr = values(outcome, "loss")[0], values(outcome, "probe_lr")[0]
    width = min(0.2, math.cbrt(threshold * loss) / lr)
    assert (width < 0.2) == (threshold < 1e-3)
    assert sorted(asked[:5]) == pytest.approx([-width, -width / 2, 0.0, width / 2, width])


def sampled(noise: float, tilt: float = 0.0) -> np.ndarray:
    """[5, 400]: 1 + (u - 0.1)^2 at the samples, with an offset and a slope of its own for each batch."""
    u, generator = np.array(SAMPLES)[:, None], np.random.default_rng(0)
    offset, slope = generator.normal(size=400), generator.normal(size=400)
    return 1 + (u - 0.1) ** 2 + noise * (offset - offset.mean()) + tilt * (slope - slope.mean()) * u


def compared(losses: np.ndarray, size: int, draws: int = 200) -> dict[str, float]:
    return compare(losses, SAMPLES, 0.5, size, draws, np.random.default_rng(1))


def test_batches_that_agree_always_decide_alike() -> None:
    found = compared(sampled(0.0), 4)
    assert found["agree_5"] == found["agree_3"] == found["samples_agree"] == 1
    for name in ("loss_std", "error_5", "error_3", "samples_difference"):
        assert found[name] == pytest.approx(0, abs=1e-9)


def test_noise_falls_with_the_size_and_a_common_superbatch_cancels_an_offset() -> None:
    losses = sampled(0.01, tilt=0.5)
    found = {size: compared(losses, size) for size in (1, 16, 100)}
    for size, noise in ((1, 0.01), (16, 0.01 / 4), (100, 0.01 / 10 * math.sqrt(0.75))):
        assert found[size]["loss_std"] == pytest.approx(noise, rel=0.15)  # 200 draws: 5 %, and those of 400
    # slope 0.5 z / sqrt(S) of the batches against 0.2 of the parabola: wrong sign where z > 0.4 sqrt(S)
    assert found[1]["agree_5"] == pytest.approx(0.655, abs=0.08)
    assert found[16]["agree_5"] == pytest.approx(0.945, abs=0.05)
    assert found[100]["agree_5"] == 1
    assert found[16]["error_5"] < found[1]["error_5"]
    offset_alone = compared(sampled(0.5), 16)
    assert offset_alone["error_5"] == pytest.approx(0, abs=1e-9)
    assert offset_alone["variance_ratio"] < 1e-9


def test_three_samples_differ_where_the_loss_is_no_parabola() -> None:
    bent = sampled(0.0) + 5.0 * np.array(SAMPLES)[:, None] ** 4 - np.array(SAMPLES)[:, None] ** 3
    found = compared(bent, 4)
    five, three = move(SAMPLES, list(bent.mean(1)), 0.5), move(SAMPLES[::2], list(bent.mean(1)[::2]), 0.5)
    assert five != three
    assert found["samples_difference"] == pytest.approx(abs(three - five) / abs(five))
    assert found["error_3"] == pytest.approx(abs(three - five)) and found["error_5"] < 1e-9


def test_a_move_is_bounded_and_none_without_finite_losses() -> None:
    falling = [1.0 - u for u in SAMPLES]
    assert move(SAMPLES, falling, 0.3) == 0.3
    assert move(SAMPLES, [*falling[:4], math.inf], 0.3) == 0
    assert move(SAMPLES, falling, 0.0) == 0


@pytest.mark.parametrize(("cubic", "radius"), [(0.0, 4.0), (0.02, 0.5), (0.2, 0.3), (9.0, 0.03)])
def test_radius_is_where_the_parabola_ceases_to_hold(cubic: float, radius: float) -> None:
    """The fit takes the slope s of c u^3 over its samples: it is off by c |u^3 - s u|."""
    losses = [1 + 0.1 * u + 0.1 * u**2 + cubic * u**3 for u in GRID]
    found = quality(losses, 0.5)
    slope = np.polynomial.polynomial.polyfit(SAMPLES, [u**3 for u in SAMPLES], 2)[1]
    off = [cubic * abs(u**3 - slope * u) for u in GRID]
    wrong = [abs(u) for u, x, gap in zip(GRID, losses, off, strict=True) if gap > 0.01 * abs(x)]
    expected = max((abs(u) for u in GRID if abs(u) < min(wrong, default=math.inf)), default=0.0)
    assert found.radius == expected == radius
    if not cubic:
        assert found.r2 == pytest.approx(1)
    else:
        assert found.r2 < 1


def test_quality_of_what_is_not_finite_or_not_there() -> None:
    losses = [1 + u + u**2 for u in GRID]
    broken = [math.inf if u > 1 else x for u, x in zip(GRID, losses, strict=True)]
    assert quality(broken, 0.5).radius == 1.0 and quality(broken, 0.5).r2 == pytest.approx(1)
    broken = [math.nan if u == 0.3 else x for u, x in zip(GRID, losses, strict=True)]
    assert quality(broken, 0.5).radius == 0.2 and math.isnan(quality(broken, 0.5).r2)
    broken = [math.nan if u == 0 else x for u, x in zip(GRID, losses, strict=True)]
    assert math.isnan(quality(broken, 0.5).fit[0]) and quality(broken, 0.5).radius == 0
    assert math.isnan(quality(losses, 0.1).r2), "four held-out losses within the bound are too few"
    assert quality(losses, 1.0, samples=WIDE).r2 == pytest.approx(1)
    assert {*SAMPLES, *WIDE} <= {*GRID}


def test_a_record_of_fifty_probes_is_small() -> None:
    spec = replace(run("quadratic_fit", steps=1000), detail="summary")
    generator = np.random.default_rng(0)
    lines = {f"line {20 * i}": generator.random(len(GRID)) for i in range(1, 51)}
    names = ("fit_minimum", "loss_at_minimum", "probe_lr")
    short = {name: Series(generator.random(50), range(20, 1001, 20)) for name in names}
    series = {"lr": [0.1] * 1000, "train_loss": generator.random(1000), **lines, **short}
    record = Record.of(spec, Outcome("finished", series), code="0" * 64, device="cpu")
    assert len(record.to_json()) <= LIMIT and len(record.series("line 20")[1]) == len(GRID)


def test_generalisation_is_a_training_with_its_training_loss_and_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def top(losses: Any, weights: list[Tensor], images: list[int]) -> TopEigenvalue:
        mean = sum(float(x().detach()) * n for x, n in zip(losses, images, strict=True)) / sum(images)
        asked.append((mean, [w.detach().clone() for w in weights]))
        assert images == [20, 10]
        return TopEigenvalue(0.5, 0.0, 1, 30)

    monkeypatch.setattr(generalisation, "CHUNK", 20)
    monkeypatch.setattr(generalisation, "top_eigenvalue", top)
    spec = run("generalisation", steps=12)
    outcome = made(spec, tmp_path)
    assert not asked and "top_eigenvalue" not in outcome.metrics
    wide = made(run("generalisation", steps=12, eigenvalue_images=30), tmp_path)
    plain = made(run("training", steps=12), tmp_path)
    assert wide.metrics["top_eigenvalue"] == 0.5
    assert {k: v for k, v in wide.metrics.items() if k in plain.metrics} == plain.metrics
    assert values(wide, "train_loss") == values(plain, "train_loss")
    net = build("mlp", seed=0, hidden=(8,)).double()
    with torch.no_grad():
        for p, w in zip(net.parameters(), asked[0][1], strict=True):
            p.copy_(w)
    task = image_task(TASK, dtype=torch.float64)
    x, y = task.training()
    assert asked[0][0] == pytest.approx(evaluate(net, (x[:30], y[:30]))[0])
    assert wide.metrics["train_loss"] == pytest.approx(evaluate(net, (x, y))[0])
    assert values(wide, "validation_accuracy")[-1] == plain.metrics["validation_accuracy"]


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        ("quadratic_fit", {"probes": 13}, "at most the training's 12 steps, not 13"),
        ("quadratic_fit", {"superbatch": 21}, "a superbatch has 1 to 20 batches, not 21"),
        ("superbatch_size", {}, "the run function 'superbatch_size' needs the setting 'superbatch'"),
    ],
)
def test_what_a_run_cannot_do_is_refused_in_a_sentence(
    function: str, settings: dict[str, int], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        made(run(function, **settings), tmp_path)


def test_dropout_and_running_statistics_survive_a_probe() -> None:
    """The same weights, buffers and random numbers as without one."""
    states = []
    for at in ([], [1, 3]):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            task = image_task(TASK)
            net = nn.Sequential(nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10))
            tuner = LineProbe(
                torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
                [0.1] * 4,
                at,
                lambda step, line: {"line": [line.losses(u, [step])[0] for u in (-1.0, 0.0, 0.0, 2.0)]},
            )
            train(net, tuner, task, seed=0, steps=4, look=superbatches(task, 0, 3))
            states.append([*(x.clone() for x in net.state_dict().values()), torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert all(found["line"][1] == found["line"][2] for found in tuner.found.values()), "one random seed"
