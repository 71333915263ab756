"""AutoLR's settings: Table 8 of its paper, a rule of thumb for another task, and superbatches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adatune_lite.checks import is_number, one_of, shown, whole


@dataclass(frozen=True)
class TaskSettings:
    """One row of Table 8, with the rate and the length that the text gives."""

    explore: float
    """Share of the training at the seed rate or above."""
    saturation: float
    """How often the first drop rate of the loss must exceed the present one before the rate may fall."""
    epsilon_threshold: float
    """r of |eps|^3 < r L."""
    lr: float
    """Seed rate of SGD and momentum for images, of Adam for text."""
    lr_adam: float


TABLE_8: Mapping[str, TaskSettings] = MappingProxyType(
    {
        "mnist": TaskSettings(10 / 50, 100, 1e-3, 0.1, 1e-3),
        "fashion_mnist": TaskSettings(10 / 50, 100, 1e-3, 0.1, 1e-3),
        "cifar10": TaskSettings(100 / 200, 100, 5e-3, 0.1, 1e-3),
        "imagenet": TaskSettings(25 / 90, 500, 1e-3, 0.1, 1e-3),
        "iwslt14": TaskSettings(8 / 50, 5, 1e-9, 5e-5, 5e-5),
        "squad": TaskSettings(0.45 / 2, 2, 1e-12, 2e-5, 2e-5),
    }
)
"""AutoLR, Table 8 (explore / total epochs, saturation, epsilon threshold); MNIST's 1oo is a scan of 100.

ImageNet was trained with momentum alone; its rate of Adam is that of the other image tasks.
"""


def autolr_settings(task: str | None, *, steps: int, lr: float | None = None) -> dict[str, Any]:
    """Keyword arguments of `AutoLR` for a training of `steps` steps: what Table 8 has, and total_steps.

    task: a row of `TABLE_8`; None is a rule of thumb for another task with seed rate `lr`: explore a quarter
    of the steps (the paper: 20 to 30 %), saturation 100 (a fine-tuning at rates near 1e-5: 2 to 5), and
    r = lr^3, a trust bound as wide as the seed rate where the loss is 1 (it gives the 1e-3 that Table 8 has
    for a rate of 0.1).

    Raises ValueError for an unknown task, for a rule of thumb without lr, and for a training without steps.
    """
    steps = whole("steps", steps, 1)
    if task is None:
        if not (is_number(lr) and 0 < lr < math.inf):
            raise ValueError(f"the rule of thumb needs the seed rate lr, finite and above 0, not {shown(lr)}")
        row = TaskSettings(0.25, 100.0, lr**3, lr, lr)
    else:
        row = TABLE_8[one_of("task (or None)", task, TABLE_8)]
    return {
        "explore_steps": round(row.explore * steps),
        "saturation": row.saturation,
        "epsilon_threshold": row.epsilon_threshold,
        "total_steps": steps,
    }


def superbatch(k: int, *, examples: int, batch_size: int, batches: int = 100, seed: int = 0) -> Tensor:
    """The k-th superbatch of (examples, seed): row numbers, int64 [batches, batch_size], none twice.

    For data of your own. The tasks of this library have `superbatch` as a method, which yields the
    mini-batches themselves, with crops and flips drawn by the same (k, seed).

    `outer_loss(k)` averages the losses of its rows, mini-batch by mini-batch, so that memory is that of one.
    Raises ValueError where a superbatch is larger than the data.
    """
    for name, number, least in (
        ("k", k, 0),
        ("examples", examples, 1),
        ("batch_size", batch_size, 1),
        ("batches", batches, 1),
        ("seed", seed, 0),
    ):
        whole(name, number, least)
    if batches * batch_size > examples:
        raise ValueError(
            f"a superbatch of {batches} mini-batches of {batch_size} needs {batches * batch_size} examples, "
            f"of which there are {examples}: take fewer mini-batches"
        )
    order = np.random.default_rng([seed, k]).permutation(examples)[: batches * batch_size]
    return torch.from_numpy(order).reshape(batches, batch_size)
