"""Run functions: several seeds in one go, or the memory at hand, change nothing but the time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.engine.lrs_opt import LRSOptResult, lrs_opt
from adatune_lite.experiments.lrs_opt_vs_marthe import canary
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import one_thread
from adatune_lite.training import functions, registry
from adatune_lite.training import lrs_opt as lrs
from adatune_lite.training.context import Context
from adatune_lite.training.outcome import Outcome, Series

SPEC = canary.runs()["lrs_opt"]


def context(folder: Path) -> Context:
    return Context("cpu", Store(folder), Checkpoint(folder / "kept.pt", "test"))


def values(outcome: Outcome) -> dict[str, torch.Tensor]:
    found = {k: v.values if isinstance(v, Series) else v for k, v in outcome.series.items()}
    return {k: torch.tensor(list(v), dtype=torch.float64) for k, v in found.items()}


def test_seeds_side_by_side_equal_separate_runs(tmp_path: Path) -> None:
    specs = [replace(SPEC, seed=seed) for seed in (0, 1, 4)]
    with one_thread():
        together = lrs.optimised_schedules(specs, context(tmp_path))
        alone = [lrs.optimised_schedule(s, context(tmp_path / str(s.seed))) for s in specs]
    for a, b in zip(together, alone, strict=True):
        assert a.status == b.status == "finished"
        for name, expected in values(b).items():
            torch.testing.assert_close(values(a)[name], expected, rtol=1e-9, atol=1e-11, equal_nan=True)
        assert a.metrics == pytest.approx(b.metrics, rel=1e-9)
        assert a.cost["plain_steps"] == b.cost["plain_steps"]
    assert values(alone[0])["lr"].tolist() != values(alone[1])["lr"].tolist(), "seeds differ"


@pytest.mark.parametrize("name", ["marthe", "marthe, outer batch", "lrs_opt"])
def test_only_the_headline_sees_the_test_images(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them (all pixels 0) everything but the two headline numbers keeps its digits."""
    spec = canary.runs()[name]
    with one_thread():
        outcomes = [registry.function(spec.function).run(spec, context(tmp_path / "with"))]
        blank = functions.image_task(spec.task, "cpu", functions.DTYPES[spec.precision])
        blank._images["test"].zero_()
        monkeypatch.setattr(functions, "_cached_task", lambda *_: blank)
        outcomes.append(registry.function(spec.function).run(spec, context(tmp_path / "without")))
    a, b = outcomes
    headline = {"test_loss", "test_accuracy"}
    assert {k for k, v in a.metrics.items() if v != b.metrics[k]} == headline
    for series, expected in values(a).items():
        assert torch.equal(values(b)[series].nan_to_num(-1.0), expected.nan_to_num(-1.0)), series


def test_memory_decides_the_way_and_no_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(*args: Any, keep_graph: bool, **options: Any) -> LRSOptResult:
        seen.append(keep_graph)
        return lrs_opt(*args, keep_graph=keep_graph, **options)

    monkeypatch.setattr(lrs, "lrs_opt", spy)
    outcomes = []
    for pages in (1, 10**12):
        monkeypatch.setattr(os, "sysconf", lambda name, n=pages: n if "PHYS" in name else 4096)
        with one_thread():
            outcomes.append(lrs.optimised_schedule(SPEC, context(tmp_path / str(pages))))
    assert seen == [False, True]
    one, other = outcomes
    assert one.metrics == other.metrics
    for name, expected in values(one).items():
        assert torch.equal(values(other)[name].nan_to_num(-1.0), expected.nan_to_num(-1.0)), name


def test_seconds_before_a_stop_count(tmp_path: Path) -> None:
    before = context(tmp_path)
    before.checkpoint.spent = 1000.0
    stopped = replace(before, report=lambda done, total: 1 / (2 - done))  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        lrs.optimised_schedule(SPEC, stopped)
    outcome = lrs.optimised_schedule(SPEC, context(tmp_path))
    assert 1000 < outcome.cost["training_seconds"] < 1100
