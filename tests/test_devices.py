"""Whatever is made for the caller's weights is made where they are, whatever torch's default device is.

The device "meta", which holds no values, stands for a default device other than that of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from oracles import BY_NAME, Task
from test_tuners import Run
from tuner_registry import TUNERS

import adatune_lite as al
from adatune_lite.rules.base import wide
from adatune_lite.schedules import SCHEDULES, mirrored_momentum, schedule


@pytest.fixture
def elsewhere() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


def task() -> Task:
    with torch.device("cpu"):
        return Task()


def problem() -> al.Problem:
    given = task()
    return al.Problem(tuple(given.start), given.train, given.outer)


def of_seeds() -> al.SeedProblem:
    w = torch.tensor([[0.5, -0.3], [0.1, 0.2]], device="cpu")
    return al.SeedProblem([w], lambda w, t: (w[0] ** 4).sum(), lambda w: (w[0] ** 2).sum())


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("kind", TUNERS)
def test_tuners(kind: str) -> None:
    run = Run(TUNERS[kind], BY_NAME["momentum"], task(), TUNERS[kind].outer)
    for _ in range(4):
        run.step()
    run.tuner.load_state_dict(run.tuner.state_dict())
    run.step()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("options", [{"clip_grad_norm": 1.0}, {"clip_grad_value": 0.1}, {"capturable": True}])
def test_options(options: dict[str, Any]) -> None:
    make: Callable[..., Any] = lambda o: al.MARTHE(o, 0.9, 1e-3, **options)  # noqa: E731
    run = Run(make, BY_NAME["momentum"], task(), True)
    for _ in range(4):
        run.step()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", ["momentum", "adam", "rmsprop"])
@pytest.mark.parametrize("outer_optimizer", ["adam", "gradient"])
def test_lrs_opt(name: str, outer_optimizer: str) -> None:
    rule = BY_NAME[name].rule
    found = al.lrs_opt(problem(), [0.01] * 3, rule, outer_steps=2, outer_optimizer=outer_optimizer)
    assert found.schedule.device.type == "cpu" and found.final_loss < found.history[0].final_loss
    al.schedule_hypergradient(problem(), [0.01] * 3, rule, "forward")
    al.lrs_opt_seeds(of_seeds(), [[0.1], [0.2]], rule, outer_steps=1, outer_optimizer=outer_optimizer)


@pytest.mark.usefixtures("elsewhere")
def test_the_rest() -> None:
    w = [torch.tensor([0.5, -0.3, 0.2], device="cpu", requires_grad=True)]
    loss = lambda t=0: ((w[0] - 0.1 * t) ** 4).sum()  # noqa: E731
    assert al.top_eigenvalue([loss], w, [3]).value == pytest.approx(12 * 0.25)
    optimizer = torch.optim.SGD(w, lr=0.1)
    al.lr_range_test(optimizer, loss, steps=4)
    al.find_hyper_lr(al.MARTHE(optimizer), loss, loss, loss, total_steps=9, steps=3, trials=6)
    assert al.superbatch(0, examples=4, batch_size=2, batches=2).device.type == "cpu"
    rates = [schedule(name, 5, 0.1, warmup=0.2) for name in SCHEDULES]
    assert all(mirrored_momentum(x, 0.0).device.type == "cpu" for x in rates)


def test_float32_where_a_device_has_no_float64() -> None:
    assert [wide(torch.device(name)) for name in ("mps", "cpu", "cuda")] == [
        *(torch.float32, torch.float64, torch.float64)
    ]
