"""What arguments of MARTHE, HD and RTHO may be."""

from __future__ import annotations

import torch

from adatune_lite.checks import is_number, whole


def check_arguments(
    mu: object,
    clip_hypergradient: object,
    outer_batchnorm: object,
    every: object,
    product_every: object,
    scaler: object,
    capturable: bool,
    model: object,
) -> None:
    """Raises ValueError, by name, for arguments out of range or at odds with each other."""
    if mu != "adaptive" and not (isinstance(mu, int | float) and 0 <= mu <= 1):
        raise ValueError(f'mu must be a number in [0, 1] or "adaptive", not {mu!r}')
    if clip_hypergradient is not None and not (is_number(clip_hypergradient) and clip_hypergradient > 0):
        raise ValueError(f"clip_hypergradient must be a number above 0, not {clip_hypergradient!r}")
    if outer_batchnorm not in ("batch", "running"):
        raise ValueError(f'outer_batchnorm must be "batch" or "running", not {outer_batchnorm!r}')
    whole("every", every, 1)
    whole("product_every", product_every, 1)
    if mu == 0 and product_every != 1:
        raise ValueError("product_every has no use with mu = 0, which takes no products: leave it at 1")
    if capturable and scaler is not None:
        raise ValueError("capturable=True has no scaler: use bfloat16 autocast, which needs none")
    if capturable and product_every != 1:
        raise ValueError("capturable=True takes a product at every step: leave product_every at 1")
    if model is not None and not isinstance(model, torch.nn.Module):
        raise ValueError(f"model must be the network, a torch.nn.Module, or None, not {model!r}")
