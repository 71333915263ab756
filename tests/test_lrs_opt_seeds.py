"""LRS-OPT of several seeds side by side: every search as if it were alone, also when one of them fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import BY_NAME, close
from test_hypergradient_seeds import S, alone, tasks, together
from test_lrs_opt import Interrupted, both, everything
from torch import Tensor

import adatune_lite as al
from adatune_lite.engine.hypergradient import Problem
from adatune_lite.engine.lrs_opt import LRSOptResult, OuterStep, lrs_opt
from adatune_lite.engine.seeds import SeedProblem, lrs_opt_seeds

T = 6
STARTS = torch.tensor([[0.05] * T, [0.02] * T, [0.08, 0.01] * 3], dtype=torch.float64)


def same(found: LRSOptResult, expected: LRSOptResult) -> None:
    """Equal counts, and digits to rounding."""
    assert (found.hypergradients, found.trainings) == (expected.hypergradients, expected.trainings)
    close(found.schedule, expected.schedule)
    close(found.final_loss, expected.final_loss)
    torch.testing.assert_close(
        [astuple(step) for step in found.history],
        [astuple(step) for step in expected.history],
        rtol=1e-8,
        atol=1e-12,
        equal_nan=True,
    )


@both
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_equals_separate_searches(name: str, outer_optimizer: str) -> None:
    """The clip is so tight that a norm taken over all seeds would show in Adam's eps."""
    options: dict[str, Any] = {"outer_optimizer": outer_optimizer, "outer_steps": 4, "clip_norm": 1e-7}
    if outer_optimizer == "gradient":
        options |= {"outer_lr": 3.0, "lr_max": 5.0}  # some steps are halved, by seed
    rule, found = BY_NAME[name].rule, tasks()
    results = lrs_opt_seeds(together(found), STARTS, rule, **options)
    assert len(results) == S
    for s, task in enumerate(found):
        same(results[s], lrs_opt(alone(task), STARTS[s], rule, **options))
        assert results[s].final_loss < results[s].history[0].final_loss
    if outer_optimizer == "gradient" and name == "sgd":
        assert len({result.trainings for result in results}) > 1


@both
def test_checkpoints_and_kept_graphs_change_no_digit(outer_optimizer: str) -> None:
    options: dict[str, Any] = {"outer_optimizer": outer_optimizer, "outer_steps": 2}
    rule = BY_NAME["momentum"].rule
    stored = lrs_opt_seeds(together(tasks()), STARTS, rule, **options)
    for ways in ({"checkpoints": 3}, {"keep_graph": True}):
        others = lrs_opt_seeds(together(tasks()), STARTS, rule, **options, **ways)
        assert [everything(x) for x in others] == [everything(x) for x in stored]


def outer(w: Sequence[Tensor], edge: Tensor) -> Tensor:
    """E falls towards larger rates and is not a number where their sum is beyond the edge."""
    return (2.0 - w[0].sum()) * torch.where(w[0].sum().detach() > edge, math.nan, 1.0)


def train(w: Sequence[Tensor], t: int, edge: Tensor) -> Tensor:
    return -w[0].sum()


@both
def test_divergence_stays_with_its_seed(outer_optimizer: str) -> None:
    """Seed 0 never diverges, seed 1 now and then, seed 2 from the start."""
    edges = torch.tensor([math.inf, 0.06 * T, 0.0], dtype=torch.float64)
    starts, w0 = torch.full((3, T), 0.05), torch.zeros(3, 1, dtype=torch.float64)
    options: dict[str, Any] = {"outer_steps": 8, "outer_optimizer": outer_optimizer, "outer_lr": 0.05}
    results = lrs_opt_seeds(SeedProblem((w0,), train, outer, edges), starts, al.rules.SGD(), **options)
    for s, result in enumerate(results):
        one = lrs_opt(Problem((w0[s],), train, outer, edges[s]), starts[s], al.rules.SGD(), **options)
        assert everything(result) == everything(one)
    assert [len(result.history) for result in results] == [9, 9, 1]
    assert results[2].final_loss == math.inf
    if outer_optimizer == "adam":
        assert [any(math.isnan(step.final_loss) for step in x.history) for x in results] == [
            False,
            True,
            True,
        ]


@both
@pytest.mark.parametrize("stop_at", [(0, 0), (1, 2), (2, 3), (2, 1)])
def test_resumes_bit_for_bit(stop_at: tuple[int, int], outer_optimizer: str, tmp_path: Path) -> None:
    """Interrupted at an evaluation of one of the seeds, the last one included."""
    options: dict[str, Any] = {"outer_steps": 3, "outer_optimizer": outer_optimizer}
    rule, file = BY_NAME["momentum"].rule, tmp_path / "state.pt"
    whole = lrs_opt_seeds(together(tasks()), STARTS, rule, **options)
    calls: list[tuple[int, int]] = []

    def stop(s: int, step: OuterStep) -> None:
        calls.append((s, step.step))
        if (s, step.step) == stop_at:
            raise Interrupted

    with pytest.raises(Interrupted):
        lrs_opt_seeds(together(tasks()), STARTS, rule, resume=file, on_step=stop, **options)
    order = [(s, k) for k in range(4) for s in range(S)]
    assert calls == order[: order.index(stop_at) + 1]
    resumed = lrs_opt_seeds(together(tasks()), STARTS, rule, resume=file, **options)
    assert [everything(x) for x in resumed] == [everything(x) for x in whole]


def test_resume_refuses_other_starts(tmp_path: Path) -> None:
    file, rule = tmp_path / "state.pt", al.rules.SGD()
    lrs_opt_seeds(together(tasks()), STARTS, rule, outer_steps=1, resume=file)
    with pytest.raises(ValueError, match="start differs"):
        lrs_opt_seeds(together(tasks()), STARTS.flip(0), rule, outer_steps=1, resume=file)
    with pytest.raises(ValueError, match="start differs"):
        lrs_opt(alone(tasks()[0]), STARTS[0], rule, outer_steps=1, resume=file)


def test_no_outer_step_only_measures() -> None:
    results = lrs_opt_seeds(together(tasks()), STARTS, al.rules.SGD(), outer_steps=0)
    for s, task in enumerate(tasks()):
        same(results[s], lrs_opt(alone(task), STARTS[s], al.rules.SGD(), outer_steps=0))


def test_bounds_must_hold_every_start() -> None:
    with pytest.raises(ValueError, match="must hold the start"):
        lrs_opt_seeds(together(tasks()), STARTS, al.rules.SGD(), outer_steps=1, lr_max=0.07)
