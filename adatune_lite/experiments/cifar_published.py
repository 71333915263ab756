"""The curves of MARTHE's first version, read off its figures: what ours are drawn and held against."""

from __future__ import annotations

import csv
from functools import cache

import numpy as np

from adatune_lite.files import reference

EPOCHS = 200
"""Of the published curves."""
BATCHES = 79
"""Of the test images: the published loss is a sum over them."""
FIGURES = {"cifar10": "cifar10_vgg11_sgdm", "cifar100": "cifar100_resnet18_adam"}
METHODS = {
    "Exponential": "exponential",
    "Staircase": "staircase",
    "SGDR": "sgdr",
    "HD": "hd",
    "RTHO": "rtho",
    "MARTHE": "marthe_adaptive",
}
"""Curves of the first version's figures, and our rows: MARTHE adapts mu there."""
QUANTITIES = {"accuracy_pct": "accuracy", "val_loss_axis_units": "loss", "lr": "lr"}
Curve = tuple[np.ndarray, np.ndarray]
"""Share of the budget, from 0 to 1, and values."""


@cache
def published() -> dict[tuple[str, str, str], Curve]:
    """The curves read off the published figures, by (task, row, "accuracy", "loss" or "lr").

    Accuracies in percent, losses as means, rates as they are; epochs are shares of the 200.
    """
    text = reference("adatune_curves.csv").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    points: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    tasks = {figure: task for task, figure in FIGURES.items()}
    for entry in csv.DictReader(lines):
        quantity = QUANTITIES[entry["quantity"]]
        value = float(entry["value"]) / (BATCHES if quantity == "loss" else 1)
        key = tasks[entry["figure"]], METHODS[entry["method"]], quantity
        points.setdefault(key, []).append((float(entry["epoch"]) / EPOCHS, value))
    found = {}
    for key, pairs in points.items():
        shares, values = np.array(sorted(pairs)).T
        found[key] = shares, values
    return found


def decay_of_printed(task: str) -> tuple[float, float]:
    """Decay an epoch of the published exponential rates, and the R² of the straight line in the logarithm."""
    shares, values = published()[task, "exponential", "lr"]
    epochs, logs = shares * EPOCHS, np.log(values)
    slope, height = np.polyfit(epochs, logs, 1)
    rest = logs - (slope * epochs + height)
    return float(np.exp(slope)), float(1 - rest.var() / logs.var())
