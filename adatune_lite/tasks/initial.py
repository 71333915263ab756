"""Initial weights of a network, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def drawn(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose weights are drawn from this seed; the global random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
