"""Run one notebook with papermill, in a kernel of this very environment."""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from .layout import BookError

PLAIN_LINE_EVERY_S = 10.0


class Relay:
    """Passes a notebook's progress (its stderr) on to the user, live.

    A terminal gets it as it comes, so that a progress bar redraws itself. Anything else, a log file say, gets
    plain lines; of a bar that redraws itself at most one every ten seconds, and its last.
    """

    def __init__(self, stream: TextIO, every_s: float = PLAIN_LINE_EVERY_S) -> None:
        self.stream = stream
        self.every_s = every_s
        self._terminal = stream.isatty()
        self._line = ""
        self._shown_at = -float("inf")

    def write(self, text: str) -> int:
        if self._terminal:
            return self.stream.write(text)
        for piece in re.split(r"(\r|\n)", text):
            if piece == "\n":
                self._show()
            elif piece == "\r":
                if time.monotonic() - self._shown_at >= self.every_s:
                    self._show()
                self._line = ""
            else:
                self._line += piece
        return len(text)

    def _show(self) -> None:
        if self._line.strip():
            self.stream.write(f"    {self._line.rstrip()}\n")
            self._shown_at = time.monotonic()
        self._line = ""

    def flush(self) -> None:
        self.stream.flush()


def execute(
    source: Path, target: Path, parameters: Mapping[str, str], progress: TextIO | None = None
) -> float:
    """Execute ``source`` with ``parameters`` and keep the result as ``target``; return the seconds it took.

    ``target`` appears only when every cell has run. A notebook that stops half-way is kept beside it as
    ``*.failed.ipynb`` and raises BookError with the error of the cell.
    """
    # A python3 kernelspec in the user's home must not win over the environment that this program runs in.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    # Otherwise every kernel starts with a paragraph on frozen modules.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    with warnings.catch_warnings():
        # papermill and its dependencies warn about each other's age; nothing a user could act on.
        warnings.simplefilter("ignore")
        import papermill  # type: ignore[import-untyped]
        from papermill.exceptions import PapermillExecutionError  # type: ignore[import-untyped]

        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part.ipynb")
        started = time.monotonic()
        try:
            papermill.execute_notebook(
                str(source),
                str(part),
                parameters=dict(parameters),
                kernel_name="python3",
                cwd=str(source.parent),
                progress_bar=False,
                # Without it the kernel writes about unencrypted local sockets on every start.
                extra_arguments=["--log-level=CRITICAL"],
                stderr_file=Relay(progress) if progress is not None else None,
            )
        except PapermillExecutionError as error:
            failed = target.with_suffix(".failed.ipynb")
            part.replace(failed)
            raise BookError(
                f"notebook {source.stem} stopped in its cell {error.cell_index}, see {failed.name} in"
                f" {relative(failed.parent)}:\n    {plain(error.ename)}: {plain(error.evalue)}"
            ) from None
    part.replace(target)
    target.with_suffix(".failed.ipynb").unlink(missing_ok=True)
    return time.monotonic() - started


def plain(text: str) -> str:
    """``text`` without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()


def relative(path: Path) -> str:
    """``path`` as seen from the current folder where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def clock(seconds: float) -> str:
    """A duration in words: 45 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def say(text: str) -> None:
    """One line to the user, at once even through a pipe."""
    print(text, file=sys.stdout, flush=True)
