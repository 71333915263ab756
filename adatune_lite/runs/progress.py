"""Progress of a long command: a bar in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

PLAIN_EVERY = 10.0  # seconds between plain lines


class State(NamedTuple):
    """Where an execution stands."""

    done: float
    """Runs done, fractions of those under way included."""
    total: int
    failed: int
    seconds_left: float | None
    """None as long as nothing is known of such runs."""
    last: bool
    """Nothing more will follow."""


Progress = Callable[[State], None]


def quiet(state: State) -> None:
    """Say nothing."""


def console(stream: TextIO | None = None) -> Progress:
    """A tqdm bar if `stream` (standard error) is a terminal and tqdm is there, else lines 10 s apart."""
    out = stream or sys.stderr
    return _bar(out) or _lines(out) if out.isatty() else _lines(out)


def duration(seconds: float | None) -> str:
    """Seconds as a reader says them: 45 s, 12 min, 3.2 h."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _lines(out: TextIO) -> Progress:
    start = last = time.monotonic()

    def show(state: State) -> None:
        nonlocal last
        now = time.monotonic()
        if state.last or now - last >= PLAIN_EVERY:
            last = now
            left = "" if state.last else f", time left {duration(state.seconds_left)}"
            failed = f", {state.failed} failed" if state.failed else ""
            taken = duration(now - start)
            print(f"runs {state.done:.1f} of {state.total} in {taken}{left}{failed}", file=out, flush=True)

    return show


def _bar(out: TextIO) -> Progress | None:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    bar: Any = None

    def show(state: State) -> None:
        nonlocal bar
        if bar is None:
            layout = "{l_bar}{bar}| {n:.1f} of {total} [{elapsed}{postfix}]"
            bar = tqdm(total=state.total, unit="run", file=out, bar_format=layout)
        bar.total = state.total
        bar.n = state.done
        failed = f", {state.failed} failed" if state.failed else ""
        bar.set_postfix_str(f"time left {duration(state.seconds_left)}{failed}")
        if state.last:
            bar.close()
            bar = None

    return show
