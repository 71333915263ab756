"""Update rules as pure element-wise maps, and their derivatives.

A rule advances weights and optimizer buffers by one step,

    (w, b), g, h, t  ->  (w', b'),

with the gradient g taken outside, hyper-parameters h (a mapping of names to numbers or 0-dim tensors) and
t = 1, 2, ... the number of the step. `update` is the definition, for one tensor, in the semantics of
`torch.optim`; everything else is derived from it. `tangent_` is its fused forward derivative on lists of
tensors, in place: with Z = d(w, b)/d(name) for one of the scalars in `hypers`, and HZ the Hessian-vector
product of the loss with Z's weight part,

    Z' = mu A Z + B,   A = d(w', b')/d(w, b),   B = d(w', b')/d(name)

(MARTHE, arXiv 1910.08525; Franceschi et al., arXiv 1703.01785). `jvp_tangent` is its slow twin through
`torch.func.jvp`; `adjoint` is the reverse derivative, fused for SGD, else `vjp_adjoint` through
`torch.func.vjp`.

Where the derivative of Adam or RMSprop is singular (second moment exactly zero: dead units, constant pixels,
underflow) the direction is constant: its derivative is taken as zero, and the forward value stays that of
torch. `update` says so itself, and every derivative follows.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

from adatune_lite.checks import shown
from adatune_lite.rules.adam import Adam, AdamW
from adatune_lite.rules.base import (
    Adjoints,
    Hyper,
    Rule,
    Tensors,
    UnsupportedOptimizer,
    adjoint,
    jvp_tangent,
    vjp_adjoint,
)
from adatune_lite.rules.rmsprop import RMSprop
from adatune_lite.rules.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Adjoints",
    "Hyper",
    "RMSprop",
    "Rule",
    "Tensors",
    "UnsupportedOptimizer",
    "adjoint",
    "as_rule",
    "from_optimizer",
    "group_rule",
    "jvp_tangent",
    "vjp_adjoint",
]


def group_rule(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> Rule:
    """The rule of one parameter group of a torch optimizer.

    Raises UnsupportedOptimizer, with what to do, for optimizers and options that have no rule.
    """
    kind = type(optimizer)
    if kind not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop):
        raise UnsupportedOptimizer(
            f"{kind.__name__} has no update rule here: use SGD, Adam, AdamW or RMSprop of torch.optim itself"
        )
    refused = ["amsgrad", "capturable", "differentiable", "centered"]
    for option in refused if kind is torch.optim.SGD else ["maximize", *refused]:
        if group.get(option):
            raise UnsupportedOptimizer(
                f"{kind.__name__} with {option}=True has no update rule here: set {option}=False"
            )
    if kind is torch.optim.SGD:
        return SGD(*(group[f.name] for f in fields(SGD)))
    if kind is torch.optim.RMSprop:
        return RMSprop(*(group[f.name] for f in fields(RMSprop)))
    beta1, beta2 = (float(x) for x in group["betas"])
    return Adam(beta1, beta2, group["eps"], group["weight_decay"], group["decoupled_weight_decay"])


def from_optimizer(optimizer: torch.optim.Optimizer) -> Rule:
    """The rule of a torch optimizer with one parameter group.

    Raises UnsupportedOptimizer, with what to do, for several groups and where there is no rule, ValueError
    for what is no optimizer.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        given = shown(optimizer)
        raise ValueError(
            f"rule must be one like al.rules.SGD(momentum=0.9) or an optimizer of torch, not {given}"
        )
    if len(optimizer.param_groups) != 1:
        raise UnsupportedOptimizer(
            f"the optimizer has {len(optimizer.param_groups)} parameter groups; one group is supported: "
            "pass all weights as one list"
        )
    return group_rule(optimizer, optimizer.param_groups[0])


def as_rule(rule: Rule | torch.optim.Optimizer) -> Rule:
    """A rule as it is, a torch optimizer by its rule. Raises ValueError for anything else."""
    return rule if isinstance(rule, Rule) else from_optimizer(rule)
