"""What must hold in the records of experiment 01, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from adatune_lite.engine.hypergradient import Problem, schedule_hypergradient
from adatune_lite.experiments.invariants import refuse, wrong_records
from adatune_lite.experiments.lrs_opt_vs_marthe.groups import ONLINE, START
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import Results, schedule_of
from adatune_lite.report.lost import E, diverged_as_guessing
from adatune_lite.rules import SGD, Adam, Rule
from adatune_lite.runs.record import Record
from adatune_lite.tuners import MARTHE

final_loss = diverged_as_guessing(E)
"""E, no better than guessing as it may be."""


def check(results: Results) -> int:
    """Check every record of the profile, and the engine on a small problem in float64.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    wrong = wrong_records(records, _record)
    wrong += [*_lrs_opt(results), *_starts(results), *_engine()]
    refuse(wrong)
    return len(records)


def _record(record: Record, name: str) -> Iterator[str]:
    rates = schedule_of(record)
    if not (np.isfinite(rates).all() and (rates >= 0).all()):
        yield f"{name}: a learning rate is negative or not finite"
    if record.spec.detail == "full" and len(rates) != record.spec.steps:
        yield f"{name}: {len(rates)} rates for {record.spec.steps} steps"


def _lrs_opt(results: Results) -> Iterator[str]:
    """LRS-OPT is not above its start, and its start is the constant run."""
    start = {r.spec.seed: final_loss(r) for r in results["report", "start"]}
    for record in [*results["report", "lrs_opt"], *results["long"]]:
        if not record.finished:
            continue
        name, seed = f"LRS-OPT seed {record.spec.seed}", record.spec.seed
        first = record.series("outer_loss")[1][0]
        if record.metrics["lrs_opt_loss"] > first:
            yield f"{name} ends above its start: {record.metrics['lrs_opt_loss']} > {first}"
        # float32 and two ways to update: equal up to rounding along the way
        if seed in start and abs(first - start[seed]) > 1e-3 * max(1.0, start[seed]):
            yield f"{name} starts at {first}, the constant run ends at {start[seed]}"
        if (
            abs(final_loss(record) - record.metrics["lrs_opt_loss"])
            > 0.02 * record.metrics["lrs_opt_loss"] + 1e-3
        ):
            yield f"{name}: its best schedule replayed gives {final_loss(record)}, not what it found"


def _starts(results: Results) -> Iterator[str]:
    """The first rate of every online method is the start (HD moves it before the second step)."""
    for method in ONLINE:
        for record in results["report", method]:
            if schedule_of(record)[0] != START:
                yield f"{method} seed {record.spec.seed} starts at {schedule_of(record)[0]}, not {START}"


def _engine() -> Iterator[str]:
    """Forward sweep, reverse sweep and the online tangent agree in float64 on a small smooth problem."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    start, inputs = [0.4 * normal(5, 4), 0.4 * normal(3, 5)], normal(7, 6, 4)
    labels = torch.randint(0, 3, (7, 6), generator=generator)

    def loss(weights: list[Tensor] | tuple[Tensor, ...], t: int) -> Tensor:
        return cross_entropy(torch.tanh(inputs[t] @ weights[0].T) @ weights[1].T, labels[t])

    problem = Problem(start, loss, lambda weights: loss(weights, 6))
    schedule = [0.3, 0.1, 0.2, 0.3, 0.25, 0.15]
    rules: list[Rule] = [SGD(), SGD(momentum=0.9, weight_decay=0.01), Adam()]
    for rule in rules:
        _, reverse = schedule_hypergradient(problem, schedule, rule)
        _, forward = schedule_hypergradient(problem, schedule, rule, method="forward")
        error = float((reverse - forward).norm() / reverse.norm())
        if not error < 1e-9:
            yield f"forward and reverse hypergradient of {rule} differ by {error:.1e}"
    weights = [w.clone().requires_grad_() for w in start]
    tuner = MARTHE(torch.optim.SGD(weights, lr=0.2), mu=1.0, hyper_lr=0.0)
    for t in range(6):
        tuner.step(lambda t=t: loss(weights, t), lambda: loss(weights, 6))  # type: ignore[misc]
    _, reverse = schedule_hypergradient(problem, [0.2] * 6, SGD())
    if not abs(tuner.hypergradient - float(reverse.sum())) < 1e-9 * abs(tuner.hypergradient):
        exact = float(reverse.sum())
        yield f"the online hypergradient at mu = 1 is {tuner.hypergradient}, the exact one {exact}"
