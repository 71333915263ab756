"""AdaTune's recursion against a twin written once more on flat vectors, and each fault alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import adatune_lite as al
from adatune_lite.tuners import Tuner
from adatune_lite.tuners.as_published import ADAM, ADAPTIVE, FAULTS, AdaTune, RatePerTensorHD

OPTIONS = {"momentum": 0.9, "weight_decay": 0.1}
STEPS = 8
AS_RUN = {
    "sgd": ("frozen_lr", "no_decay", "first_step_skipped", "no_projection"),
    "adam": (
        "frozen_lr",
        "no_decay",
        "first_step_skipped",
        "no_projection",
        "lost_identity",
        "stale_moments",
        "eps_inside",
    ),
}


class World:
    """A small smooth problem in float64, its optimizer, and a tuner made by `make`."""

    def __init__(self, kind: str) -> None:
        generator = torch.Generator().manual_seed(1)
        draw = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
        self.weights = [draw[0, 0].clone().requires_grad_(), draw[0, 1, :3].clone().requires_grad_()]
        self.x = draw[1]
        self.held = draw[2]
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(self.weights, lr=0.05, **OPTIONS)
            if kind == "sgd"
            else torch.optim.Adam(self.weights, lr=0.03, eps=1e-2, weight_decay=0.1)
        )

    def loss(self, x: Tensor) -> Tensor:
        score = torch.tanh(x @ self.weights[0]) + self.weights[1].square().sum() * self.weights[1].mean()
        return (score - x.sum(1)).square().mean()

    def step(self, tuner: Tuner) -> None:
        tuner.step(lambda: self.loss(self.x), lambda: self.loss(self.held))


def run(kind: str, faults: Sequence[str] | None, mu: Any = 0.95, hyper_lr: Any = 5e-4, **options: Any) -> Any:
    """(hypergradients, rates) of STEPS steps; faults None: MARTHE itself."""
    world = World(kind)
    tuner = (
        al.MARTHE(world.optimizer, mu, hyper_lr, **options)
        if faults is None
        else AdaTune(world.optimizer, mu, hyper_lr, faults=faults, **options)
    )
    deltas, rates = [], []
    for _ in range(STEPS):
        world.step(tuner)
        deltas.append(tuner.hypergradient)
        rates.append(tuner.lr)
    return deltas, rates


def twin(kind: str, mu: float, hyper_lr: float) -> tuple[list[float], list[float]]:
    """mu_sgd.py and mu_adam.py on flat vectors: their order, their formulas, without clipping."""
    world = World(kind)
    group = world.optimizer.param_groups[0]
    first = lr = group["lr"]
    decay = group["weight_decay"]
    z: list[Tensor] = []
    deltas, rates = [], []

    def flat(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([x.reshape(-1) for x in tensors])

    for t in range(STEPS):
        grads = torch.autograd.grad(world.loss(world.x), world.weights, create_graph=True)
        g = flat(grads)
        if t:
            hz = flat(torch.autograd.grad(g @ z[-1], world.weights)) if z else torch.zeros_like(g)
            g = g.detach()
            state = [world.optimizer.state[w] for w in world.weights]
            if kind == "sgd":
                u = flat([s["momentum_buffer"] for s in state])
                z_u, z_w = z or (torch.zeros_like(g), torch.zeros_like(g))
                moved = mu * (z_w - first * hz - first * 0.9 * z_u) - (0.9 * u + g)
                z = [mu * (hz + 0.9 * z_u) if z else torch.zeros_like(g), moved]
            else:
                m, v = flat([s["exp_avg"] for s in state]), flat([s["exp_avg_sq"] for s in state])
                b1, b2, eps = *group["betas"], group["eps"]
                c = math.sqrt(1 - b2**t) / (1 - b1**t)
                root = (v + eps).sqrt()
                direct = -c * m / root
                if not z:
                    z = [torch.zeros_like(g), torch.zeros_like(g), direct]
                else:
                    inner = (1 - b1) / root - (1 - b2) * m * g / root**3
                    past = -first * c * b1 * z[0] / root + first * c * 0.5 * b2 * m * z[1] / root**3
                    z = [
                        mu * (b1 * z[0] + (1 - b1) * hz),
                        mu * (b2 * z[1] + 2 * (1 - b2) * g * hz),
                        mu * (past + (1 - first * c) * inner * hz) + direct,
                    ]
        with torch.no_grad():
            for w, x in zip(world.weights, grads, strict=True):
                w.grad = x.detach()
        world.optimizer.step()
        if z:
            outer = flat(torch.autograd.grad(world.loss(world.held), world.weights))
            delta = float(outer @ z[-1])
            lr = lr - hyper_lr * delta
            group["lr"] = lr
            deltas.append(delta)
        else:
            deltas.append(0.0)
        rates.append(lr)
    assert decay
    return deltas, rates


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_all_faults_together_are_the_published_recursion(kind: str) -> None:
    hyper_lr = 5e-4 if kind == "sgd" else 1e-4
    ours, rates = run(kind, AS_RUN[kind], hyper_lr=hyper_lr)
    theirs, their_rates = twin(kind, 0.95, hyper_lr)
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert rates == pytest.approx(their_rates, rel=1e-9)
    assert theirs[1:] != pytest.approx(run(kind, None, hyper_lr=hyper_lr)[0][1:], rel=1e-2)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_without_faults_it_is_marthe(kind: str) -> None:
    assert run(kind, ()) == run(kind, None)


def test_adams_formulas_without_faults_are_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow recursion with none of its branches taken equals the fused tangent."""
    monkeypatch.setattr("adatune_lite.tuners.as_published.ADAM", {"frozen_lr": ""})
    monkeypatch.setattr("adatune_lite.tuners.as_published.AdaTune._check", lambda *_: None)
    alone, fused = run("adam", ("frozen_lr",), hyper_lr=0.0), run("adam", None, hyper_lr=0.0)
    assert alone[0] == pytest.approx(fused[0], rel=1e-10)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("sgd", f) for f in ("frozen_lr", "no_decay", "first_step_skipped")]
    + [("adam", f) for f in ("frozen_lr", "no_decay", "first_step_skipped", *ADAM)],
)
def test_each_fault_of_the_tangent_alone_changes_the_hypergradient(kind: str, fault: str) -> None:
    hyper_lr = 5e-4 if kind == "sgd" else 1e-4
    changed, exact = run(kind, (fault,), hyper_lr=hyper_lr)[0], run(kind, None, hyper_lr=hyper_lr)[0]
    assert changed[-1] != pytest.approx(exact[-1], rel=1e-4)


def test_faults_of_the_step() -> None:
    assert min(run("adam", ("no_projection",), hyper_lr=5e-3)[1]) < 0
    assert min(run("adam", (), hyper_lr=5e-3)[1]) == 0
    assert run("sgd", ("float32_lr",), hyper_lr=1e-13)[1] == [float(torch.tensor(0.05))] * STEPS
    assert run("sgd", (), hyper_lr=1e-13)[1][-1] != 0.05
    clip = {"clip_grad_value": 0.5}
    assert run("sgd", ("clipped_products",), **clip)[0] != run("sgd", (), **clip)[0]


def test_outer_statistics_stay_in_batchnorm_as_published() -> None:
    def buffers(faults: Sequence[str]) -> Tensor:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
        x = torch.randn(2, 5, 2)
        tuner = AdaTune(torch.optim.SGD(net.parameters(), lr=0.1), 0.9, 1e-3, faults=faults)
        tuner.step(lambda: net(x[0]).square().mean(), lambda: net(x[1]).square().mean())
        return torch.as_tensor(net[0].running_mean).clone()

    assert not torch.equal(buffers(()), buffers(("outer_statistics",)))


def test_the_first_gradient_alone_is_not_clipped() -> None:
    world, other = World("sgd"), World("sgd")
    tuner = AdaTune(world.optimizer, 0.9, 0.0, faults=("first_unclipped",), clip_grad_value=0.1)
    for t in range(3):
        world.step(tuner)
        other.optimizer.zero_grad()
        other.loss(other.x).backward()
        assert max(float(w.grad.abs().max()) for w in other.weights if w.grad is not None) > 0.1
        if t:
            torch.nn.utils.clip_grad_value_(other.weights, 0.1)
        other.optimizer.step()
    for w, x in zip(world.weights, other.weights, strict=True):
        assert torch.allclose(w, x, rtol=1e-12)


def test_a_negative_start_enters_the_memory_once() -> None:
    """Line by line: c <- c sign(mu) + mu, mu <- z^(1 / (c + 1)) with z = lr / (grad E . g) in [0, 1]."""
    world = World("sgd")
    faults = ("mu_rule", "memory_rule", "negative_start")
    tuner = AdaTune(world.optimizer, "adaptive", 0.0, faults=faults)
    c, mu = 0.0, -0.99999
    for _ in range(4):
        assert tuner.mu == pytest.approx(mu, rel=1e-9)
        g = torch.autograd.grad(world.loss(world.x), world.weights)
        world.step(tuner)
        outer = torch.autograd.grad(world.loss(world.held), world.weights)
        q = 0.05 / sum(float((a * b).sum()) for a, b in zip(outer, g, strict=True))
        c = (c if mu > 0 else 0.0) + mu
        mu = min(1.0, max(0.0, q)) ** (1 / (c + 1))
    assert 0 < mu < 1


@pytest.mark.parametrize("rule", ADAPTIVE)
def test_adaptive_rules_one_by_one(rule: str) -> None:
    """Each alone differs from Marthe-TF's; all together are `adapt_rule="adatune"`."""
    adaptive = {"mu": "adaptive", "hyper_lr": "adaptive", "alpha": 1e-2}
    plain = run("sgd", (), **adaptive)
    assert run("sgd", (rule,), **adaptive) != plain
    assert run("sgd", tuple(ADAPTIVE), **adaptive) == run("sgd", None, adapt_rule="adatune", **adaptive)


def test_hd_moves_the_rate_between_tensors() -> None:
    world, other = World("adam"), World("adam")
    hd, exact = RatePerTensorHD(world.optimizer, 1e-3), al.HD(other.optimizer, 1e-3)
    for _ in range(2):
        before = [w.detach().clone() for w in world.weights]
        hd.step(lambda: world.loss(world.x))
        exact.step(lambda: other.loss(other.x))
    moved = [w.detach() - x for w, x in zip(world.weights, before, strict=True)]
    right = [w.detach() - x for w, x in zip(other.weights, before, strict=True)]
    assert hd.lr == exact.lr
    assert torch.equal(moved[1], right[1]), "the last tensor has the rate of all"
    share = float((moved[0] / right[0]).mean())
    assert torch.allclose(moved[0], share * right[0])
    assert share != pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("sgd", {"faults": ["frozen"]}, "unknown fault 'frozen'"),
        ("sgd", {"faults": ["eps_inside"]}, "one of Adam's tangent"),
        ("sgd", {"faults": ["mu_rule"]}, 'needs mu="adaptive"'),
        ("sgd", {"faults": ["hyper_lr_rule"], "mu": "adaptive"}, 'needs hyper_lr="adaptive"'),
        ("sgd", {"faults": ["negative_start"]}, 'needs mu="adaptive"'),
        ("sgd", {"faults": ["clipped_products"]}, "needs clip_grad_value"),
        ("sgd", {"faults": ["first_unclipped"]}, "needs clip_grad_value"),
        ("sgd", {"tune": ("lr",)}, "no 'tune'"),
    ],
)
def test_refusals(kind: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AdaTune(World(kind).optimizer, **{"mu": 0.9, "hyper_lr": 1e-3, **arguments})
    with pytest.raises(ValueError, match="dampening or Nesterov"):
        AdaTune(torch.optim.SGD(World(kind).weights, lr=0.1, momentum=0.9, nesterov=True), 0.9, 1e-3)


def test_every_fault_is_described() -> None:
    assert all(text for text in FAULTS.values())
