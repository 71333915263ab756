"""LRS-OPT: optimise a whole learning-rate schedule offline with its exact hypergradient.

    min over eta in [lr_min, lr_max]^T of E(w_T(eta)),

the problem of MARTHE's section 2 (arXiv 1910.08525). The paper does not print the outer optimizer;
projected Adam with cosine decay is the default here, projected gradient descent with backtracking the check.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adatune_lite.hypergradient import Problem, check_schedule, final_loss, schedule_hypergradient
from adatune_lite.rules import Rule, as_rule

OUTER_OPTIMIZERS = ("adam", "gradient")


@dataclass(frozen=True)
class OuterStep:
    """One evaluation of the outer loop."""

    step: int
    """Number of outer steps taken before this evaluation."""
    final_loss: float
    """E of the schedule at this step."""
    best: float
    """Smallest E so far."""
    hypergradient_norm: float
    """Euclidean norm of dE / d eta; NaN where only E was evaluated."""


@dataclass
class LRSOptResult:
    """`schedule` is the best one evaluated (float64, shape [T]); `history` has one entry per evaluation."""

    schedule: Tensor
    final_loss: float
    history: list[OuterStep]
    hypergradients: int = 0
    """Hypergradients computed."""
    trainings: int = 0
    """Plain trainings evaluated besides."""


@dataclass
class _State:
    schedule: Tensor
    best_schedule: Tensor
    best: float
    step: int = 0
    outer_lr: float = 0.0
    failures: int = 0
    m: Tensor = field(default_factory=lambda: torch.zeros(0))
    v: Tensor = field(default_factory=lambda: torch.zeros(0))
    history: list[OuterStep] = field(default_factory=list)
    hypergradients: int = 0
    trainings: int = 0


def lrs_opt(
    problem: Problem,
    schedule: Tensor | Sequence[float],
    rule: Rule | torch.optim.Optimizer,
    *,
    outer_steps: int,
    outer_optimizer: str = "adam",
    outer_lr: float | None = None,
    lr_min: float = 0.0,
    lr_max: float = 1.0,
    clip_norm: float = 1.0,
    checkpoints: int | None = None,
    resume: Path | None = None,
    on_step: Callable[[OuterStep], None] | None = None,
) -> LRSOptResult:
    """Lower E over the schedule with `outer_steps` steps, each at the cost of one hypergradient.

    schedule: start, T rates within [lr_min, lr_max].
    outer_optimizer: "adam" (projected Adam, rate `outer_lr` = 0.02 with cosine decay to 0, hypergradient
        clipped to Euclidean norm `clip_norm`) or "gradient" (projected gradient descent, step halved until E
        falls and doubled after a success; `outer_lr` is the first step, 0.01 by default).
    checkpoints: as in `schedule_hypergradient`.
    resume: a file in which the state is kept after every outer step, and from which an interrupted call with
        the same arguments continues bit for bit; it is the caller's to delete.
    on_step: called after every evaluation.

    A non-finite E (or hypergradient) goes back to the best schedule with half the outer rate; three in a
    row, or one at the start, end the search with what was found. Raises ValueError for arguments out of
    range and for a file that is damaged or belongs to another start or other settings.
    """
    rule = as_rule(rule)
    start = torch.tensor(check_schedule(schedule), dtype=torch.float64)
    _check(start, outer_steps, outer_optimizer, outer_lr, lr_min, lr_max, clip_norm)
    rate = outer_lr if outer_lr is not None else {"adam": 0.02, "gradient": 0.01}[outer_optimizer]
    settings = {
        "start": start,
        "rule": repr(rule),
        "options": repr((outer_steps, outer_optimizer, rate, lr_min, lr_max, clip_norm)),
    }
    state = _load(resume, settings) or _State(
        start, start.clone(), math.inf, outer_lr=rate, m=torch.zeros_like(start), v=torch.zeros_like(start)
    )

    def record(value: float, norm: float) -> None:
        if math.isfinite(value) and value < state.best:
            state.best, state.best_schedule = value, state.schedule.clone()
        state.history.append(OuterStep(state.step, value, state.best, norm))
        if on_step:
            on_step(state.history[-1])

    while state.step < outer_steps and state.failures < 3:
        value, slope = schedule_hypergradient(problem, state.schedule, rule, checkpoints=checkpoints)
        state.hypergradients += 1
        norm = float(slope.norm())
        record(value, norm)
        if not (math.isfinite(value) and math.isfinite(norm)):
            state.failures += 1 if math.isfinite(state.best) else 3
            state.outer_lr *= 0.5
            state.schedule = state.best_schedule.clone()
        elif outer_optimizer == "adam":
            state.failures = 0
            _adam(state, slope * min(1.0, clip_norm / max(norm, 1e-300)), outer_steps, lr_min, lr_max)
        else:
            state.failures = 0
            _backtrack(state, value, slope, problem, rule, lr_min, lr_max)
        state.step += 1
        _save(resume, state, settings)
    if state.failures < 3 and (not state.history or state.history[-1].step < state.step):
        state.trainings += 1
        record(final_loss(problem, state.schedule, rule), math.nan)
        _save(resume, state, settings)
    return LRSOptResult(state.best_schedule, state.best, state.history, state.hypergradients, state.trainings)


def _adam(state: _State, slope: Tensor, outer_steps: int, lr_min: float, lr_max: float) -> None:
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    t = state.step + 1
    state.m = beta1 * state.m + (1 - beta1) * slope
    state.v = beta2 * state.v + (1 - beta2) * slope**2
    rate = state.outer_lr * 0.5 * (1 + math.cos(math.pi * state.step / outer_steps))
    direction = (state.m / (1 - beta1**t)) / ((state.v / (1 - beta2**t)).sqrt() + eps)
    state.schedule = (state.schedule - rate * direction).clamp(lr_min, lr_max)


def _backtrack(
    state: _State, value: float, slope: Tensor, problem: Problem, rule: Rule, lr_min: float, lr_max: float
) -> None:
    """Projected gradient step with Armijo's condition along the projection arc (constant 1e-4)."""
    for _ in range(20):
        candidate = (state.schedule - state.outer_lr * slope).clamp(lr_min, lr_max)
        gain = float((slope * (state.schedule - candidate)).sum())
        if not gain > 0:  # stationary: the bounds hold every component that would move
            return
        state.trainings += 1
        new = final_loss(problem, candidate, rule)
        if math.isfinite(new) and new <= value - 1e-4 * gain:
            state.schedule = candidate
            state.outer_lr *= 2.0
            return
        state.outer_lr *= 0.5


def _check(
    start: Tensor,
    outer_steps: int,
    outer_optimizer: str,
    outer_lr: float | None,
    lr_min: float,
    lr_max: float,
    clip_norm: float,
) -> None:
    if isinstance(outer_steps, bool) or not isinstance(outer_steps, int) or outer_steps < 0:
        raise ValueError(f"outer_steps must be a whole number of at least 0, not {outer_steps!r}")
    if outer_optimizer not in OUTER_OPTIMIZERS:
        raise ValueError(
            f"outer_optimizer must be one of {', '.join(OUTER_OPTIMIZERS)}, not {outer_optimizer!r}"
        )
    if outer_lr is not None and not (math.isfinite(outer_lr) and outer_lr > 0):
        raise ValueError(f"outer_lr must be finite and above 0, not {outer_lr}")
    if not clip_norm > 0:
        raise ValueError(f"clip_norm must be above 0, not {clip_norm}")
    if not (0 <= lr_min <= float(start.min()) and float(start.max()) <= lr_max):
        raise ValueError(
            f"the bounds [{lr_min}, {lr_max}] must hold the start, whose rates run from "
            f"{float(start.min()):g} to {float(start.max()):g}, and not be negative"
        )


def _save(path: Path | None, state: _State, settings: dict[str, Any]) -> None:
    if path is None:
        return
    plain: dict[str, Any] = {k: v for k, v in vars(state).items() if k != "history"}
    plain["history"] = [asdict(step) for step in state.history]
    part = path.with_suffix(path.suffix + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        torch.save({"settings": settings, "state": plain}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _load(path: Path | None, settings: dict[str, Any]) -> _State | None:
    if path is None or not path.exists():
        return None
    try:
        stored = torch.load(path, weights_only=True)
        found, plain = stored["settings"], stored["state"]
        plain["history"] = [OuterStep(**step) for step in plain["history"]]
        state = _State(**plain)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a readable state of lrs_opt: delete it or name another") from error
    for name, value in settings.items():
        same = torch.equal(found[name], value) if name == "start" else found[name] == value
        if not same:
            raise ValueError(
                f"{path} belongs to another call ({name} differs): delete it, name another, or call as before"
            )
    return state
