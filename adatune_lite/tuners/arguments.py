"""What arguments of MARTHE, HD and RTHO may be."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch

from adatune_lite.checks import is_number, shown, truth, whole
from adatune_lite.tuners.base import check_network


def check_arguments(
    mu: object,
    hyper_lr: object,
    adapt_rule: object,
    alpha: object,
    clip_hypergradient: object,
    clip_grad_value: object,
    clip_grad_norm: object,
    outer_batchnorm: object,
    every: object,
    product_every: object,
    scaler: object,
    capturable: object,
    model: object,
    check_symmetry: object,
) -> dict[str, Any]:
    """Raises ValueError, by name, for arguments out of range or at odds with each other.

    Returns those that a saved state and the tuner that takes it up must agree in, numbers as Python's own: of
    hyper_lr whether it adapts, since the numbers may differ. Clipping and adaptation are checked elsewhere.
    """
    if not (is_number(mu) and 0 <= mu <= 1) and not (isinstance(mu, str) and mu == "adaptive"):
        raise ValueError(f'mu must be a number in [0, 1] or "adaptive", not {shown(mu)}')
    if not (is_number(hyper_lr) or isinstance(hyper_lr, str | Mapping)):
        raise ValueError(f"hyper_lr must be a finite number and not negative, not {shown(hyper_lr)}")
    if clip_hypergradient is not None and not (is_number(clip_hypergradient) and clip_hypergradient > 0):
        raise ValueError(f"clip_hypergradient must be a number above 0, not {shown(clip_hypergradient)}")
    if not isinstance(outer_batchnorm, str) or outer_batchnorm not in ("batch", "running"):
        raise ValueError(f'outer_batchnorm must be "batch" or "running", not {shown(outer_batchnorm)}')
    whole("every", every, 1)
    whole("product_every", product_every, 1)
    if mu == 0 and product_every != 1:
        raise ValueError("product_every has no use with mu = 0, which takes no products: leave it at 1")
    if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
        raise ValueError(f"scaler must be a torch.amp.GradScaler or None, not {shown(scaler)}")
    truth("capturable", capturable)
    if capturable and scaler is not None:
        raise ValueError("capturable=True has no scaler: use bfloat16 autocast, which needs none")
    if capturable and product_every != 1:
        raise ValueError("capturable=True takes a product at every step: leave product_every at 1")
    check_network(model)
    truth("check_symmetry", check_symmetry)
    kept = {
        "mu": mu,
        "hyper_lr": "adaptive" if isinstance(hyper_lr, str) else "fixed",
        "adapt_rule": adapt_rule,
        "alpha": alpha,
        "clip_hypergradient": clip_hypergradient,
        "clip_grad_value": clip_grad_value,
        "clip_grad_norm": clip_grad_norm,
        "outer_batchnorm": outer_batchnorm,
        "every": every,
        "product_every": product_every,
    }
    return {name: _plain(x) for name, x in kept.items()}


def _plain(x: object) -> Any:
    if isinstance(x, Integral):
        return int(x)
    return float(x) if is_number(x) else x
