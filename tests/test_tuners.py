"""Online tuners through the real torch optimizer against line-by-line oracles."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from oracles import (
    BY_NAME,
    FD_ATOL,
    FD_RTOL,
    SETTINGS,
    Setting,
    Task,
    Unrolled,
    central_difference,
    close,
    rate_recursion,
    rates,
    tangents,
    torch_outer,
)
from torch import Tensor
from tuner_registry import TUNERS

import adatune_lite as al
from adatune_lite.tuners import Tuner

settings = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
of_a_jvp = pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:FutureWarning")
"""torch's own, at the first one of a process."""
T = 10
HYPER_LR = {"sgd": 1e-2, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 2e-4}

Make = Callable[[torch.optim.Optimizer], Tuner]


class Run:
    """A tuner on the small task: `step` does one and notes what it did."""

    def __init__(self, make: Make, setting: Setting, task: Task, outer: bool = True) -> None:
        self.task, self.outer = task, outer
        self.w = [x.clone().requires_grad_() for x in task.start]
        self.optimizer = setting.optimizer(self.w)
        self.tuner = make(self.optimizer)
        self.t = 0

    def step(self) -> Tensor:
        outer = (lambda *_: self.task.outer(self.w)) if self.outer else None
        loss = self.tuner.step(lambda: self.task.train(self.w, self.t), outer)
        self.t += 1
        return loss

    def steps(self, count: int) -> Iterator[tuple[float, float]]:
        """(rate used, hypergradient after the step)."""
        for _ in range(count):
            self.step()
            yield self.tuner.used_lr, self.tuner.hypergradient

    def digits(self) -> list[Any]:
        """Everything that must agree bit for bit."""
        return [self.tuner.lr, self.tuner.hypergradient, *(w.tolist() for w in self.w)]


def registered(kind: str, setting: Setting, task: Task) -> Run:
    """A run of a registered tuner."""
    return Run(TUNERS[kind], setting, task, TUNERS[kind].outer)


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("moving", [False, True], ids=["fixed", "moving"])
@settings
def test_marthe_equals_the_discounted_double_sum(setting: Setting, moving: bool, mu: float) -> None:
    """Each Delta is the explicit sum of FACTS 1.4, by autograd through time; the rate follows a loop."""
    task = Task()
    hyper_lr = HYPER_LR[setting.kind] / (1 + 20 * mu) if moving else 0.0  # Delta grows with the past
    if setting.values["maximize"]:
        hyper_lr /= 50  # and faster where the training loss grows
    run = Run(lambda o: al.MARTHE(o, mu, hyper_lr), setting, task)
    loop, lr, furthest = Unrolled(task, setting), setting.lr, 0.0
    for used, delta in run.steps(T):
        close(used, lr, rtol=1e-12)
        loop.step(lr)
        expected = loop.discounted(mu)
        close(delta, expected)
        lr = max(0.0, lr - hyper_lr * expected)
        furthest = max(furthest, abs(lr / setting.lr - 1))
    close(run.tuner.lr, lr, rtol=1e-12)
    assert lr > 0
    assert not moving or furthest > 0.003
    for ours, theirs in zip(run.w, loop.w, strict=True):
        close(ours.detach(), theirs.detach())


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adam_decay"])
def test_zero_and_denormal_gradients(name: str, mu: float) -> None:
    task, setting = Task(dead=True), BY_NAME[name]
    run = Run(lambda o: al.MARTHE(o, mu, HYPER_LR[setting.kind]), setting, task)
    loop = Unrolled(task, setting)
    for used, delta in run.steps(T):
        loop.step(used)
        close(delta, loop.discounted(mu))
    assert all(torch.isfinite(x).all() for x in tangents(run.tuner))


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_float32_with_dead_inputs_stays_near_float64(name: str) -> None:
    setting = BY_NAME[name]
    found = []
    for dtype in (torch.float32, torch.float64):
        run = Run(lambda o: al.MARTHE(o, 0.9, 0.0), setting, Task(dtype=dtype, dead=True))
        found.append([delta for _, delta in run.steps(6)])
    close(torch.tensor(found[0]), torch.tensor(found[1]), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["momentum_decay", "adam", "adam_decay"])
def test_weights_that_some_losses_leave_out(name: str) -> None:
    """Two heads, the second trained at every other step from step 2 on, as torch.optim treats them."""
    task, setting = Task(), BY_NAME[name]
    heads = [torch.full((3,), v, dtype=torch.float64) for v in (0.3, -0.2)]

    def train(w: list[Tensor], t: int) -> Tensor:
        second = t >= 2 and t % 2 == 0
        return task.train(w[:4], t) + ((w[5] if second else w[4]) * w[1][:3] - 1).square().sum()

    def outer(w: list[Tensor]) -> Tensor:
        return task.outer(w[:4]) + (w[4] * w[5] * w[1][1:4]).sum()

    def weights() -> list[Tensor]:
        return [x.clone().requires_grad_() for x in (*task.start, *heads)]

    def replay(h: float) -> float:
        w = weights()
        optimizer = setting.optimizer(w, setting.lr + h)
        for t in range(T):
            optimizer.zero_grad()
            train(w, t).backward()
            optimizer.step()
        return float(outer(w).detach())

    w = weights()
    tuner = al.RTHO(setting.optimizer(w), 0.0)
    for t in range(T):
        tuner.step(lambda t=t: train(w, t), lambda: outer(w))
    close(tuner.hypergradient, central_difference(replay), FD_RTOL, FD_ATOL)


HD_NAMES = [
    "sgd",
    "sgd_decay",
    "momentum",
    "nesterov",
    "nesterov_decay",
    "adam",
    "adam_decay",
    "adamw",
    "rmsprop_all",
]


@pytest.mark.parametrize("multiplicative", [False, True])
@pytest.mark.parametrize("name", HD_NAMES)
def test_hd_equals_the_published_recursion(name: str, multiplicative: bool) -> None:
    """SGD-HD, SGDN-HD and Adam-HD of FACTS 2: lr += beta g_t . direction_{t-1}, then the step at that lr.

    Multiplicative: lr *= 1 + beta cos(g_t, direction_{t-1}). AdamW's decay is in the direction and not in g.
    Adam's direction is torch's, whose eps stands elsewhere than in FACTS 2: see the next test.
    """
    task, setting = Task(), BY_NAME[name]
    lr = setting.lr
    decay = 0.0 if setting.kind == "adamw" else setting.options.get("weight_decay", 0.0)
    beta = 0.2 if multiplicative else HYPER_LR[setting.kind]
    run = Run(lambda o: al.HD(o, beta, multiplicative=multiplicative), setting, task, outer=False)
    w = task.weights()
    buffers: list[list[Tensor]] = [[] for _ in w]
    previous: list[Tensor] = []
    for t, (used, _) in enumerate(run.steps(15)):
        grads = torch.autograd.grad(task.train(w, t), w)
        with torch.no_grad():
            if previous:
                g = torch.cat([(g + decay * x).flatten() for g, x in zip(grads, w, strict=True)])
                d = torch.cat([d.flatten() for d in previous])
                lr = (
                    lr * (1 + beta * float(g @ d / (g.norm() * d.norm())))
                    if multiplicative
                    else (lr + beta * float(g @ d))
                )
            close(used, lr, rtol=1e-12)
            assert run.tuner.lr == used
            previous = []
            for i, g in enumerate(grads):
                d, buffers[i] = setting.direction(w[i], buffers[i], g, t + 1)
                previous.append(d)
                w[i] = (w[i] - lr * d).requires_grad_()
    assert abs(lr / setting.lr - 1) > 0.003
    for ours, theirs in zip(run.w, w, strict=True):
        close(ours.detach(), theirs.detach())


def printed_adam_hd(task: Task, beta: float, eps: Callable[[int], float], steps: int) -> list[float]:
    """The rates of Adam-HD, line by line as FACTS 2 prints it, with eps(t) for its eps."""
    w, lr, b1, b2 = task.weights(), 0.03, 0.9, 0.999
    m, v, d = ([torch.zeros_like(x) for x in w] for _ in range(3))
    used = []
    for t in range(1, steps + 1):
        g = torch.autograd.grad(task.train(w, t - 1), w)
        with torch.no_grad():
            lr = lr + beta * sum(float((x * y).sum()) for x, y in zip(g, d, strict=True))
            used.append(lr)
            c = math.sqrt(1 - b2**t) / (1 - b1**t)
            m = [b1 * x + (1 - b1) * y for x, y in zip(m, g, strict=True)]
            v = [b2 * x + (1 - b2) * y**2 for x, y in zip(v, g, strict=True)]
            d = [c * x / (y.sqrt() + eps(t)) for x, y in zip(m, v, strict=True)]
            w = [(x - lr * y).requires_grad_() for x, y in zip(w, d, strict=True)]
    return used


def test_hd_with_adam_is_the_printed_one_but_for_the_place_of_eps() -> None:
    """torch adds eps after the bias correction, which is eps sqrt(1 - b2^t) in the printed form."""

    def ours(eps: float) -> list[float]:
        setting = Setting("adam", "adam", {"eps": eps}, 0.03)
        return [used for used, _ in Run(lambda o: al.HD(o, 1e-3), setting, Task(), outer=False).steps(15)]

    def printed(eps: Callable[[int], float]) -> Any:
        return pytest.approx(printed_adam_hd(Task(), 1e-3, eps, 15), rel=1e-10, abs=0.0)

    assert ours(1e-16) == printed(lambda t: 1e-16)
    assert ours(1e-2) == printed(lambda t: 1e-2 * math.sqrt(1 - 0.999**t))
    assert ours(1e-2) != printed(lambda t: 1e-2)


def check_interpolation(makes: list[Make], name: str, mu: float, hyper_lr: float) -> None:
    """The rates of 200 steps are those of the recursion; the claims allow 1e-10."""
    setting = BY_NAME[name]
    expected = list(rate_recursion(Task(seed=5), setting, mu, hyper_lr, 200))
    for make in makes:
        used = [rate for rate, _ in Run(make, setting, Task(seed=5)).steps(200)]
        assert used == pytest.approx(expected, rel=1e-10, abs=0.0)
    assert max(abs(rate / setting.lr - 1) for rate in expected) > 0.01


@of_a_jvp
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
@pytest.mark.slow
def test_claim_marthe_interp_mu0_is_hd(name: str) -> None:
    check_interpolation([lambda o: al.MARTHE(o, 0.0, 1e-3), lambda o: al.HD(o, 1e-3)], name, 0.0, 1e-3)


@of_a_jvp
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
@pytest.mark.slow
def test_claim_marthe_interp_mu1_is_rtho(name: str) -> None:
    check_interpolation([lambda o: al.MARTHE(o, 1.0, 1e-4), lambda o: al.RTHO(o, 1e-4)], name, 1.0, 1e-4)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_claim_marthe_interp_discounted_sum(name: str) -> None:
    """Recursion against the explicit double sum at each of 20 steps, <= 1e-9."""
    task, setting = Task(seed=6), BY_NAME[name]
    run, loop = Run(lambda o: al.MARTHE(o, 0.9, 1e-4), setting, task), Unrolled(task, setting)
    for used, delta in run.steps(20):
        loop.step(used)
        assert delta == pytest.approx(loop.discounted(0.9), rel=1e-9)


def test_rtho_moves_the_rate_at_every_kth_step() -> None:
    task, setting = Task(), BY_NAME["momentum"]
    run, loop, lr = (
        Run(lambda o: al.RTHO(o, 1e-3, every=4), setting, task),
        Unrolled(task, setting),
        setting.lr,
    )
    for t, (used, delta) in enumerate(run.steps(T), start=1):
        close(used, lr, rtol=1e-12)
        loop.step(used)
        if t % 4 == 0:
            close(delta, loop.discounted(1.0))
            lr = lr - 1e-3 * delta
    assert 0 < lr != setting.lr


def test_rate_is_bounded_and_clipped() -> None:
    setting, task = BY_NAME["sgd"], Task()
    for options, low, high in (
        ({"hyper_lr": 100.0}, 0.0, math.inf),
        ({"hyper_lr": 100.0, "lr_min": 0.05, "lr_max": 0.2}, 0.05, 0.2),
    ):
        run = Run(lambda o, options=options: al.MARTHE(o, 0.0, **options), setting, task)
        seen = []
        for _ in run.steps(6):
            seen.append(run.tuner.lr)
            assert low <= run.tuner.lr <= high
        assert low in seen
    run = Run(lambda o: al.MARTHE(o, 0.5, 1e-2, clip_hypergradient=1e-3), setting, task)
    run.step()
    assert abs(run.tuner.hypergradient) > 1e-3
    assert run.tuner.lr == setting.lr - 1e-2 * math.copysign(1e-3, run.tuner.hypergradient)


def test_rate_is_a_double_for_float32_weights() -> None:
    run = Run(lambda o: al.MARTHE(o, 0.9, 1e-12), BY_NAME["adam"], Task(dtype=torch.float32))
    run.step()
    assert type(run.tuner.lr) is float
    assert run.tuner.lr != run.tuner.used_lr  # float32 would swallow a change of this size
    assert run.tuner.lr == run.tuner.used_lr - 1e-12 * run.tuner.hypergradient
    assert float(torch.tensor(run.tuner.lr)) == float(torch.tensor(run.tuner.used_lr))
    assert run.optimizer.param_groups[0]["lr"] == run.tuner.lr
    assert run.tuner.values == {(0, "lr"): run.tuner.lr}
    assert run.tuner.hypergradients == {(0, "lr"): run.tuner.hypergradient}


def test_fixed_schedule_is_torch_with_these_rates() -> None:
    task, setting = Task(), BY_NAME["nesterov_decay"]
    schedule = rates(setting, 5, moving=True)
    run = Run(lambda o: al.FixedSchedule(o, schedule), setting, task, outer=False)
    assert [used for used, _ in run.steps(5)] == schedule
    assert float(task.outer(run.w).detach()) == torch_outer(task, setting, schedule)
    with pytest.raises(ValueError, match="has 5 steps and all are done"):
        run.step()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov_decay", "adam_decay"])
@pytest.mark.parametrize("kind", TUNERS)
def test_saved_state_continues_bit_for_bit(kind: str, name: str, dtype: torch.dtype) -> None:
    setting, task = BY_NAME[name], Task(dtype=dtype)
    whole, first = (registered(kind, setting, task) for _ in range(2))
    for _ in range(12):
        whole.step()
    for _ in range(5):
        first.step()
    file = io.BytesIO()
    torch.save({"w": first.w, "o": first.optimizer.state_dict(), "tuner": first.tuner.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for _ in range(3):
        first.step()  # the state taken before does not move on with the tuner
    second = registered(kind, setting, task)
    second.t = 5
    with torch.no_grad():
        for w, x in zip(second.w, saved["w"], strict=True):
            w.copy_(x)
    second.optimizer.load_state_dict(saved["o"])
    second.tuner.load_state_dict(saved["tuner"])
    for _ in range(7):
        second.step()
    assert str(second.digits()) == str(whole.digits())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: al.MARTHE(o, mu=1.5), r"mu must be a number in \[0, 1\]"),
        (lambda o: al.MARTHE(o, mu=-0.1), "mu"),
        (lambda o: al.MARTHE(o, mu=math.nan), "mu"),
        (lambda o: al.MARTHE(o, mu="auto"), "mu"),
        (lambda o: al.MARTHE(o, hyper_lr=-1e-9), "hyper_lr"),
        (lambda o: al.RTHO(o, hyper_lr=math.inf), "hyper_lr"),
        (lambda o: al.HD(o, hyper_lr="adaptive"), "hyper_lr"),
        (lambda o: al.MARTHE(o, lr_min=-1.0), "lr_min"),
        (lambda o: al.MARTHE(o, lr_min=0.2), "start rate 0.1"),
        (lambda o: al.MARTHE(o, lr_max=0.05), "start rate 0.1"),
        (lambda o: al.MARTHE(o, clip_hypergradient=0.0), "clip_hypergradient"),
        (lambda o: al.MARTHE(o, outer_batchnorm="both"), "outer_batchnorm"),
        (lambda o: al.RTHO(o, every=0), "every"),
        (lambda o: al.FixedSchedule(o, [0.1, -0.2]), "not negative"),
    ],
)
def test_bad_arguments(make: Make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))


@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf])
def test_bad_start_rate(lr: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    optimizer.param_groups[0]["lr"] = lr
    with pytest.raises(ValueError, match="lr must be finite and not negative"):
        al.MARTHE(optimizer)
