"""Several seeds in one sweep: S trainings of one kind side by side, each with a schedule of its own.

The losses are written for one seed and mapped by `torch.func.vmap` over a leading axis S of the weights and
the data; update rules are element-wise and take S rates by broadcasting. No seed enters the loss of another,
so that the gradient of the sum of the S losses, and its Hessian-vector product, keep the seeds apart:

    d (L_1 + ... + L_S) / d w_s = grad L_s(w_s),    (H_1 v_1, ..., H_S v_S) from one double backward,

and one sweep gives E [S] and dE [S, T], at the price of kernels S times larger instead of S times as many:
a gain where one network leaves the device idle. A loss that vmap cannot trace (`.item()`, Python branches on
values, modules with buffers that change) is called once for each seed instead, and the sweep stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from adatune_lite.checkpoint import Keeper
from adatune_lite.checks import shown
from adatune_lite.engine.curvature import check_scalar
from adatune_lite.engine.hypergradient import (
    Problem,
    Rate,
    check_options,
    check_schedule,
    plain_training,
    reverse_sweep,
)
from adatune_lite.engine.lrs_opt import LRSOptResult, Outer, OuterStep, check_report, search
from adatune_lite.rules import Rule, as_rule
from adatune_lite.rules.base import wide


@dataclass(frozen=True)
class SeedProblem(Problem):
    """S problems that differ in their start and their data.

    weights: mapping or sequence of tensors [S, ...].
    train_loss(weights, t[, data]), final_loss(weights[, data]): as for a `Problem`, given the weights and the
        data of one seed.
    data: a tensor [S, ...] or nested containers of them; what all seeds share, the closures hold themselves.
        The batches of a seed come from indices among the data: `x[data[t]]`.

    A loss that `torch.func.vmap` cannot map runs in a loop over the seeds, for which no gain is to be had.
    """

    _looped: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """The losses that vmap could not map."""

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = sorted({w.shape[0] if w.dim() else 0 for w in self.tensors()})
        if len(axes) > 1 or axes[0] == 0:
            raise ValueError(
                "the weights of a SeedProblem need one leading axis with an entry for each seed: stack those "
                f"of the seeds; the leading sizes are {', '.join(map(str, axes))}"
            )
        for x in [] if self.data is None else tree_leaves(self.data):
            if not isinstance(x, Tensor) or not x.dim() or len(x) != self.seeds:
                what = f"a tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else repr(x)
                raise ValueError(
                    f"the data of a SeedProblem must be tensors with an entry for each of its {self.seeds} "
                    f"seeds, not {what}: what all seeds share, the losses hold themselves"
                )

    @property
    def seeds(self) -> int:
        return self.tensors()[0].shape[0]

    def _call(self, loss: Callable[..., Tensor], weights: Sequence[Tensor], what: str, *args: Any) -> Tensor:
        def one(weights: Any, *data: Any) -> Tensor:
            return loss(weights, *args, *data)

        inputs = (self._shaped(weights), *(() if self.data is None else (self.data,)))
        if what not in self._looped:
            try:
                losses: Tensor = torch.func.vmap(one)(*inputs)
            except (RuntimeError, ValueError) as error:
                if "vmap" not in str(error) and "functorch" not in str(error):
                    raise
                self._looped.add(what)
            else:
                check_scalar(losses[0], what)
                return losses.reshape(self.seeds)
        its = [tree_map(lambda x, s=s: x[s], inputs) for s in range(self.seeds)]
        return torch.stack([check_scalar(one(*x), what) for x in its])


def seed_hypergradients(
    problem: SeedProblem,
    schedules: Tensor | Sequence[Sequence[float]],
    rule: Rule | torch.optim.Optimizer,
    checkpoints: int | None = None,
    keep_graph: bool = False,
    check_symmetry: bool = True,
) -> tuple[Tensor, Tensor]:
    """`schedule_hypergradient` of S seeds in one reverse sweep.

    schedules: [S, T], a schedule for each seed. Rule and options are those of `schedule_hypergradient`.

    Returns (E, dE), float64 tensors [S] and [S, T]. Where the E of a seed is not finite, its row of dE is
    NaN; the others do not notice. Raises what `schedule_hypergradient` raises.
    """
    _check_several(problem)
    rates = _rates(problem, check_schedules(schedules, problem.seeds))
    check_options(len(rates), checkpoints, keep_graph, check_symmetry)
    return reverse_sweep(problem, rates, as_rule(rule), checkpoints, keep_graph, check_symmetry)


def lrs_opt_seeds(
    problem: SeedProblem,
    schedules: Tensor | Sequence[Sequence[float]],
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
    on_step: Callable[[int, OuterStep], None] | None = None,
    check_symmetry: bool = True,
) -> list[LRSOptResult]:
    """`lrs_opt` of S seeds side by side, each as if it were alone: one result for each.

    schedules: starts, [S, T]. Options as in `lrs_opt`; `resume` keeps all seeds in one file, on_step(s, step)
    is called after every evaluation of seed s. Clipping, best schedule, backtracking and divergence are those
    of each seed.
    """
    outer = Outer(outer_steps, outer_optimizer, outer_lr, lr_min, lr_max, clip_norm)
    _check_several(problem)
    rule = as_rule(rule)

    untested = check_symmetry

    def slopes(schedules: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal untested
        found = seed_hypergradients(problem, schedules, rule, checkpoints, keep_graph, untested)
        untested = False
        return found

    def losses(schedules: Tensor) -> Tensor:
        return plain_training(problem, _rates(problem, schedules), rule)

    starts = check_schedules(schedules, problem.seeds)
    check_options(starts.shape[1], checkpoints, keep_graph, check_symmetry)
    check_report(on_step, "seed", "step")
    return search(starts, rule, outer, slopes, losses, resume, on_step)


def _check_several(problem: object) -> None:
    if not isinstance(problem, SeedProblem):
        raise ValueError(f"problem must be an al.SeedProblem, not {shown(problem)}")


def check_schedules(schedules: Tensor | Sequence[Sequence[float]], seeds: int) -> Tensor:
    """The schedules as float64 [S, T] on the CPU; raises ValueError unless they are one for each seed."""
    rows = [check_schedule(row) for row in schedules] if _nested(schedules) else []
    if len(rows) != seeds or len({len(row) for row in rows}) != 1:
        raise ValueError(
            f"schedules must be [S, T] with one row of T rates for each of the {seeds} seeds of the problem"
        )
    return torch.tensor(rows, dtype=torch.float64, device="cpu")


def _nested(schedules: Tensor | Sequence[Sequence[float]]) -> bool:
    if isinstance(schedules, Tensor):
        return schedules.dim() == 2
    return isinstance(schedules, Sequence) and all(isinstance(row, Tensor | Sequence) for row in schedules)


def _rates(problem: SeedProblem, schedules: Tensor) -> list[Rate]:
    """The S rates of each step, where the weights are."""
    device = problem.tensors()[0].device
    return list(schedules.T.contiguous().to(wide(device)).to(device))
