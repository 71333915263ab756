"""Benchmarks at tiny scale: their loops do the same work, their rows are there. Times are not tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import nn

from adatune_lite.tasks.data import Batch, image_task
from benchmarks import cifar, device, engine, extras, loops
from benchmarks.measure import Row, median_interval

TINY = replace(loops.SPEC, train=48, batch=8, width=0.0625)


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks of the loops that a test makes, in this order."""
    made: list[nn.Module] = []
    start = loops.start

    def noted(spec: loops.TaskSpec) -> tuple[loops.ImageTask, nn.Module, torch.optim.Optimizer]:
        found = start(spec)
        made.append(found[1])
        return found

    monkeypatch.setattr(loops, "start", noted)
    return made


def task_batches(spec: loops.TaskSpec = TINY) -> Iterator[Batch]:
    step, task = 0, image_task(spec)
    while True:
        yield task.batch(0, step)
        step += 1


def test_our_loop_and_the_bare_one_do_the_same(nets: list[nn.Module]) -> None:
    """On the same batches they end at the same weights and statistics, in two calls and over an epoch."""
    ours, bare = loops.ours(TINY, 4), loops.bare(TINY, 4, task_batches())
    before = [w.clone() for w in nets[0].state_dict().values()]
    for _ in range(2):
        ours()
        bare()
    one, other = (list(net.state_dict().values()) for net in nets)
    assert all(torch.allclose(x, y, rtol=1e-5, atol=1e-6) for x, y in zip(one, other, strict=True))
    assert all(not torch.equal(x, y) for x, y in zip(one, before, strict=True))


@pytest.mark.parametrize("source", [loops.tensor_batches, loops.loader_batches])
def test_other_loops_have_scaled_batches_of_whole_epochs(
    source: loops.Callable[..., Iterator[Batch]],
) -> None:
    epoch = list(islice(source(TINY), TINY.train // TINY.batch))
    images, labels = (torch.cat(parts) for parts in zip(*epoch, strict=True))
    assert images.shape == (48, 3, 32, 32) and images.dtype == torch.float32
    assert images.mean().abs() < 0.1 and (images.std() - 1).abs() < 0.1
    expected = image_task(TINY).training()[1]
    assert torch.equal(labels.sort().values, expected.sort().values)
    assert not torch.equal(labels, expected)


def test_loop_rows() -> None:
    ours, loader = loops.loop_rows(TINY, 1, 2, judged=True)
    assert ours.target == 1.02 and loader.target is None
    assert min(ours.low, loader.low) > 0
    assert [row.target for row in loops.loop_rows(TINY, 1, 1, judged=False)] == [None, None]


def test_cifar_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of each method over bare steps and over plain ones, and images a second."""
    monkeypatch.setattr(cifar, "STEPS", 1)
    monkeypatch.setattr(cifar, "FEW", 1)
    rows = cifar.cifar_rows(1, tuple(replace(spec, train=48, validation=8, batch=8) for spec in cifar.SPECS))
    assert [(row.unit, row.target) for row in rows[:7]] == [
        ("bare steps", 1.05),
        *[("bare steps", 1.05), ("plain steps", None)] * 2,
        *[("images/s", None)] * 2,
    ]
    assert len(rows) == 14 and all(0 < row.low <= row.value <= row.high for row in rows)


@pytest.mark.parametrize("method", ["plain", "HD", "MARTHE"])
def test_bare_steps_of_cifar_do_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same batches the weights end where ours do."""
    made: list[nn.Module] = []
    start = cifar.start

    def noted(spec: loops.TaskSpec) -> tuple[loops.ImageTask, nn.Module, torch.optim.Optimizer]:
        found = start(spec)
        made.append(found[1])
        return found

    monkeypatch.setattr(cifar, "start", noted)
    spec = replace(TINY, validation=8, model="vgg11")
    cifar.ours(spec, method)()
    cifar.bare(spec, method, task_batches(spec))()
    one, other = (list(net.parameters()) for net in made)
    assert all(torch.allclose(x, y, rtol=1e-4, atol=1e-6) for x, y in zip(one, other, strict=True))


def test_autolr_counts_the_passes_of_the_paper() -> None:
    """500 forward passes in 1000 steps, a third of a step each; the lean setting has 150."""
    rows = extras.autolr_rows(TINY, 1)
    passes = [row for row in rows if row.what.endswith("passes")]
    assert [row.value for row in passes] == pytest.approx([100 / 6, 5.0])
    assert [row.target for row in rows] == [17, 17, 6, 6]
    assert all(row.holds for row in passes)


def test_eigenvalue_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("CHUNK", 30), ("TRAINED", 3), ("REPEATS", 1)):
        monkeypatch.setattr(extras, name, small)
    spec = replace(extras.CONV4, train=48, batch=8, width=0.1)
    products, steps = extras.eigenvalue_rows(spec, images=40)
    assert products.value >= 2 and products.unit == "products"
    assert steps.low <= steps.value <= steps.high and steps.unit == "plain steps"


@pytest.mark.parametrize(("low", "code"), [(1.019, 0), (1.021, 1)])
@pytest.mark.usefixtures("checkout")
def test_a_target_is_judged_by_the_interval_s_lower_end(
    low: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(spec: loops.TaskSpec, steps: int, pairs: int, judged: bool) -> list[Row]:
        return [Row(f"loop {spec.width:g}", 1.03, low, 1.04, 1.02 if judged else None, "bare loops")]

    monkeypatch.setattr(engine, "loop_rows", rows)
    monkeypatch.setattr(engine, "autolr_rows", lambda *_: [])
    monkeypatch.setattr(engine, "eigenvalue_rows", lambda: [])
    threads = torch.get_num_threads()
    try:
        assert engine.main(["--only", "loop"]) == code
    finally:
        torch.set_num_threads(threads)
    shown = capsys.readouterr()
    assert f"{low} to 1.04" in shown.out
    assert ("missed: loop 1\n" in shown.err) == bool(code)


def test_median_interval_of_thirty_pairs() -> None:
    """From the 9th to the 22nd, which holds the median with 98 %; one pair less on each side would do."""
    assert median_interval([float(k) for k in range(30, 0, -1)]) == (15.5, 9.0, 22.0)


def test_device_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "BATCH", 4)
    rows = list(device.device_rows("cpu", pairs=1, width=0.0625))
    assert [row.what for row in rows] == [
        f"{what}, {network}" for network in device.NETWORKS for what in ("MARTHE step", "plain", "MARTHE")
    ]
    assert all(row.value > 0 for row in rows) and rows[0].target == 4.4
