"""LRS-OPT: optimise a whole learning-rate schedule offline with its exact hypergradient.

    min over eta in [lr_min, lr_max]^T of E(w_T(eta)),

the problem of MARTHE's section 2 (arXiv 1910.08525). The paper does not print the outer optimizer;
projected Adam with cosine decay is the default here, projected gradient descent with backtracking the check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checkpoint import Checkpoint, CheckpointError, Keeper
from adatune_lite.checks import function, is_count, is_number, one_of, shown, whole
from adatune_lite.engine.hypergradient import (
    Problem,
    check_options,
    check_schedule,
    check_single,
    final_loss,
    schedule_hypergradient,
)
from adatune_lite.rules import Rule, as_rule

FIRST_RATES = {"adam": 0.02, "gradient": 0.01}
"""The outer optimizers, and the outer rate that each starts with by default."""


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
    outer_lr: float
    m: Tensor
    v: Tensor
    step: int = 0
    failures: int = 0
    history: list[OuterStep] = field(default_factory=list)
    hypergradients: int = 0
    trainings: int = 0

    @classmethod
    def at(cls, start: Tensor, rate: float) -> _State:
        zeros = torch.zeros_like(start)
        return cls(start.clone(), start.clone(), math.inf, rate, zeros, zeros)

    def is_one(self, start: Tensor) -> bool:
        """Whether it holds what a search from this start can have come to."""
        rows = (self.schedule, self.best_schedule, self.m, self.v)
        counts = (self.step, self.failures, self.hypergradients, self.trainings)
        seen = [x for step in self.history for x in vars(step).values()]
        return (
            all(isinstance(x, Tensor) and (x.dtype, x.shape) == (start.dtype, start.shape) for x in rows)
            and bool((torch.stack(rows) >= -math.inf).all())
            and all(map(is_count, counts))
            and all(map(is_number, (self.best, self.outer_lr, *seen)))
            and not math.isnan(self.best)
            and 0 < self.outer_lr < math.inf
        )

    def goes_on(self, outer: Outer) -> bool:
        return self.step < outer.outer_steps and self.failures < 3

    def unmeasured(self) -> bool:
        """Whether the last outer step led to a schedule whose E is not known yet."""
        return self.failures < 3 and (not self.history or self.history[-1].step < self.step)

    def record(self, value: float, norm: float) -> OuterStep:
        if math.isfinite(value) and value < self.best:
            self.best, self.best_schedule = value, self.schedule.clone()
        self.history.append(OuterStep(self.step, value, self.best, norm))
        return self.history[-1]


@dataclass(frozen=True)
class Outer:
    """The settings of the outer loop, as `lrs_opt` describes them."""

    outer_steps: int
    outer_optimizer: str = "adam"
    outer_lr: float | None = None
    lr_min: float = 0.0
    lr_max: float = 1.0
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        whole("outer_steps", self.outer_steps, 0)
        one_of("outer_optimizer", self.outer_optimizer, FIRST_RATES)
        if not (is_number(self.rate) and 0 < self.rate < math.inf):
            raise ValueError(f"outer_lr must be a finite number above 0, not {shown(self.outer_lr)}")
        if not (is_number(self.clip_norm) and self.clip_norm > 0):
            raise ValueError(f"clip_norm must be a number above 0, not {shown(self.clip_norm)}")
        for name in ("lr_min", "lr_max"):
            if not is_number(getattr(self, name)):
                raise ValueError(f"{name} must be a number, not {shown(getattr(self, name))}")

    @property
    def rate(self) -> float:
        """The first outer rate."""
        return FIRST_RATES[self.outer_optimizer] if self.outer_lr is None else self.outer_lr

    def check_start(self, start: Tensor) -> None:
        """Raises ValueError unless the bounds hold all rates of the start."""
        low, high = float(start.min()), float(start.max())
        if not 0 <= self.lr_min <= low <= high <= self.lr_max:
            raise ValueError(
                f"the bounds [{self.lr_min}, {self.lr_max}] must hold the start, whose rates run from "
                f"{low:g} to {high:g}, and not be negative"
            )


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
    keep_graph: bool = False,
    resume: Path | str | Keeper | None = None,
    on_step: Callable[[OuterStep], None] | None = None,
    check_symmetry: bool = True,
) -> LRSOptResult:
    """Lower E over the schedule with `outer_steps` steps, each at the cost of one hypergradient.

    schedule: start, T rates within [lr_min, lr_max].
    outer_optimizer: "adam" (projected Adam, rate `outer_lr` = 0.02 with cosine decay to 0, hypergradient
        clipped to Euclidean norm `clip_norm`) or "gradient" (projected gradient descent, step halved until E
        falls and doubled after a success; `outer_lr` is the first step, 0.01 by default).
    checkpoints, keep_graph, check_symmetry: as in `schedule_hypergradient`; symmetry is tested once.
    resume: a file (or a keeper, as the context of a run is) in which the state is kept after every outer
        step, and from which an interrupted call with the same arguments continues bit for bit; it is the
        caller's to delete.
    on_step: called after every evaluation.

    A non-finite E (or hypergradient) goes back to the best schedule with half the outer rate; three in a
    row, or one at the start, end the search with what was found. Raises ValueError for arguments out of
    range, CheckpointError for a file that is damaged or belongs to another start or other settings.
    """
    outer = Outer(outer_steps, outer_optimizer, outer_lr, lr_min, lr_max, clip_norm)
    check_single(problem)
    rule = as_rule(rule)
    start = torch.tensor([check_schedule(schedule)], dtype=torch.float64, device="cpu")
    check_options(start.shape[1], checkpoints, keep_graph, check_symmetry)
    check_report(on_step, "step")

    untested = check_symmetry

    def slopes(schedules: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal untested
        value, slope = schedule_hypergradient(
            problem,
            schedules[0],
            rule,
            checkpoints=checkpoints,
            keep_graph=keep_graph,
            check_symmetry=untested,
        )
        untested = False
        return torch.tensor([value], dtype=torch.float64, device="cpu"), slope.unsqueeze(0)

    def losses(schedules: Tensor) -> Tensor:
        value = final_loss(problem, schedules[0], rule)
        return torch.tensor([value], dtype=torch.float64, device="cpu")

    report = (lambda _, step: on_step(step)) if on_step else None
    return search(start, rule, outer, slopes, losses, resume, report)[0]


def check_report(on_step: object, *arguments: object) -> None:
    """Raises ValueError for an on_step that is no function of such arguments."""
    if on_step is not None:
        function("on_step", on_step, *arguments)


def search(
    starts: Tensor,
    rule: Rule,
    outer: Outer,
    slopes: Callable[[Tensor], tuple[Tensor, Tensor]],
    losses: Callable[[Tensor], Tensor],
    resume: Path | str | Keeper | None,
    on_step: Callable[[int, OuterStep], None] | None,
) -> list[LRSOptResult]:
    """The outer loop of S searches side by side, of which none feels the others.

    starts [S, T]; `slopes` and `losses` take S schedules as [S, T] to (E [S], dE [S, T]) and to E [S], all
    float64. A search that has ended early is evaluated on with the rest, to no effect. on_step(s, step) is
    called after every evaluation of search s.
    """
    outer.check_start(starts)
    settings = {"start": starts, "rule": repr(rule), "options": repr(outer)}
    keeper = _keeper(resume)
    states = _load(keeper, settings) or [_State.at(start, outer.rate) for start in starts]

    def schedules() -> Tensor:
        return torch.stack([state.schedule for state in states])

    def report(s: int, value: float, norm: float) -> None:
        step = states[s].record(value, norm)
        if on_step:
            on_step(s, step)

    while going := [s for s, state in enumerate(states) if state.goes_on(outer)]:
        values, found = slopes(schedules())
        descents: dict[int, tuple[float, Tensor]] = {}
        for s in going:
            state, value, slope = states[s], float(values[s]), found[s]
            state.hypergradients += 1
            norm = float(slope.norm())
            report(s, value, norm)
            if not (math.isfinite(value) and math.isfinite(norm)):
                state.failures += 1 if math.isfinite(state.best) else 3
                state.outer_lr *= 0.5
                state.schedule = state.best_schedule.clone()
                continue
            state.failures = 0
            if outer.outer_optimizer == "adam":
                _adam(state, slope * min(1.0, outer.clip_norm / max(norm, 1e-300)), outer)
            else:
                descents[s] = value, slope
        _backtrack(states, descents, losses, outer)
        for s in going:
            states[s].step += 1
        _save(keeper, states, settings)
    if last := [s for s, state in enumerate(states) if state.unmeasured()]:
        values = losses(schedules())
        for s in last:
            states[s].trainings += 1
            report(s, float(values[s]), math.nan)
        _save(keeper, states, settings)
    return [LRSOptResult(x.best_schedule, x.best, x.history, x.hypergradients, x.trainings) for x in states]


def _adam(state: _State, slope: Tensor, outer: Outer) -> None:
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    t = state.step + 1
    state.m = beta1 * state.m + (1 - beta1) * slope
    state.v = beta2 * state.v + (1 - beta2) * slope**2
    rate = state.outer_lr * 0.5 * (1 + math.cos(math.pi * state.step / outer.outer_steps))
    direction = (state.m / (1 - beta1**t)) / ((state.v / (1 - beta2**t)).sqrt() + eps)
    state.schedule = (state.schedule - rate * direction).clamp(outer.lr_min, outer.lr_max)


def _backtrack(
    states: list[_State],
    descents: dict[int, tuple[float, Tensor]],
    losses: Callable[[Tensor], Tensor],
    outer: Outer,
) -> None:
    """Projected gradient step with Armijo's condition along the projection arc (constant 1e-4).

    `descents` holds (E, dE) of the searches that move; each of them shortens its own step.
    """
    for _ in range(20):
        candidates, gains = [state.schedule for state in states], {}
        for s, (_, slope) in descents.items():
            candidate = (states[s].schedule - states[s].outer_lr * slope).clamp(outer.lr_min, outer.lr_max)
            gain = float((slope * (states[s].schedule - candidate)).sum())
            if gain > 0:  # else stationary: the bounds hold every component that would move
                candidates[s], gains[s] = candidate, gain
        if not gains:
            return
        values = losses(torch.stack(candidates))
        descents = {s: descents[s] for s in gains}
        for s, gain in gains.items():
            state, new = states[s], float(values[s])
            state.trainings += 1
            if math.isfinite(new) and new <= descents[s][0] - 1e-4 * gain:
                state.schedule = candidates[s]
                state.outer_lr *= 2.0
                del descents[s]
            else:
                state.outer_lr *= 0.5


def _keeper(resume: object) -> Keeper | None:
    if isinstance(resume, Path | str):
        if Path(resume).is_dir():
            raise ValueError(f"resume must be a file, and {resume} is a folder: name a file in it")
        return Checkpoint(Path(resume), "lrs_opt")
    if resume is not None and not isinstance(resume, Keeper):
        raise ValueError(f"resume must be a file, or something with save and load, not {resume!r}")
    return resume


def _save(keeper: Keeper | None, states: list[_State], settings: dict[str, Any]) -> None:
    if keeper is None:
        return
    plain = [{**vars(state), "history": [asdict(step) for step in state.history]} for state in states]
    keeper.save({"settings": settings, "states": plain})


def _load(keeper: Keeper | None, settings: dict[str, Any]) -> list[_State] | None:
    kept = keeper.load() if keeper else None
    if kept is None:
        return None
    try:
        differs = [name for name, value in settings.items() if not _equal(kept["settings"][name], value)]
        states = [
            _State(**{**plain, "history": [OuterStep(**step) for step in plain["history"]]})
            for plain in kept["states"]
        ]
    except (IndexError, KeyError, TypeError) as error:
        raise CheckpointError(_NO_STATE) from error
    if differs:
        raise CheckpointError(
            f"the state to resume from belongs to another call ({differs[0]} differs): delete it, "
            "name another, or call as before"
        )
    if len(states) != len(settings["start"]) or not all(x.is_one(settings["start"][0]) for x in states):
        raise CheckpointError(_NO_STATE)
    return states


_NO_STATE = "the state to resume from is none that lrs_opt has saved: delete it, or name another"


def _equal(found: object, value: object) -> bool:
    if isinstance(value, Tensor):
        return isinstance(found, Tensor) and torch.equal(found, value)
    return bool(found == value)
