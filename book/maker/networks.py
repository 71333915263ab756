"""The networks that there are, as a table for the book."""

from __future__ import annotations

import sys

from adatune_lite.tasks.models import MODELS, described


def markdown() -> str:
    """A row for each network: its name, what it is, weights with the defaults of its options, and these."""
    lines = ["| network | what it is | weights | options |", "| --- | --- | ---: | --- |"]
    for name, make in MODELS.items():
        what = (sys.modules[make.__module__].__doc__ or "").partition("\n")[0].rstrip(".")
        weights, options = described(name)
        lines.append(f"| `{name}` | {what} | {weights} | {options} |")
    return "\n".join(lines) + "\n"
