"""Peak memory of MARTHE's steps above a bare double backward, in weight sizes.

Each number is the largest memory of a process of its own, which makes STEPS steps from a fresh optimizer on
the 3000-unit MLP, batch 100, outer batch equal: with a plain `optimizer.step()` after gradient, product and
outer gradient, or with the tuner. Allowed are as many weight sizes as Z has parts.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import adatune_lite as al
from adatune_lite.tasks.models import build
from benchmarks.measure import Row

STEPS = 3
OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "SGD": lambda w: torch.optim.SGD(w, lr=0.01),
    "momentum": lambda w: torch.optim.SGD(w, lr=0.01, momentum=0.9),
    "Adam": lambda w: torch.optim.Adam(w, lr=1e-3),
}
KINDS = tuple(f"{way}-{name}" for way in ("bare", "marthe") for name in OPTIMIZERS)


def peak() -> float:
    """Largest memory of this process so far, in bytes."""
    return float(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    )


def measure(kind: str) -> dict[str, float]:
    """In a fresh process: its peak after STEPS steps, in weight sizes."""
    way, name = kind.split("-")
    net = build("mlp", seed=0, hidden=(3000, 3000))
    weights = list(net.parameters())
    x, y = torch.rand(100, 784), torch.randint(10, (100,))
    optimizer = OPTIMIZERS[name](weights)

    def loss() -> Tensor:
        return torch.nn.functional.cross_entropy(net(x), y)

    if way == "marthe":
        tuner = al.MARTHE(optimizer, 0.9, 1e-9)
        for _ in range(STEPS):
            tuner.step(loss, loss)
    else:
        direction = [torch.ones_like(w) for w in weights]
        for _ in range(STEPS):
            optimizer.zero_grad()
            _bare(loss, weights, direction)
            optimizer.step()
            torch.autograd.grad(loss(), weights)
    return {"weight sizes": peak() / sum(w.nbytes for w in weights)}


def _bare(loss: Callable[[], Tensor], weights: list[Tensor], direction: list[Tensor]) -> None:
    grads = torch.autograd.grad(loss(), weights, create_graph=True)
    torch.autograd.grad(grads, weights, direction)
    for w, g in zip(weights, grads, strict=True):
        w.grad = g.detach()


def rows() -> list[Row]:
    """One row for each optimizer, allowed 1, 2 and 3."""
    found = []
    for allowed, name in enumerate(OPTIMIZERS, start=1):
        above = _child(f"marthe-{name}") - _child(f"bare-{name}")
        found.append(
            Row(f"MARTHE's peak above double backward, {name}", above, above, above, allowed, "weight sizes")
        )
    return found


def _child(kind: str) -> float:
    """NaN where the process failed: then no target holds."""
    command = [sys.executable, "-m", "benchmarks", "--measure", kind]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    return float(json.loads(done.stdout)["weight sizes"]) if done.returncode == 0 else math.nan
