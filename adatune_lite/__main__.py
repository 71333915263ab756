"""`python -m adatune_lite COMMAND`: make runs, look at them, exchange them, check them, find data."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from adatune_lite.claims import ClaimError
from adatune_lite.cli import canary, data, exchange, gpu, inspect, run, scorecard
from adatune_lite.experiments import UnknownExperiment
from adatune_lite.runs.execute import ExecutionError
from adatune_lite.runs.export import ExportError
from adatune_lite.runs.freshness import CanaryError
from adatune_lite.runs.merge import MergeError
from adatune_lite.runs.record import RecordError
from adatune_lite.runs.selection import SelectionError
from adatune_lite.tasks.data import DataError
from adatune_lite.tasks.spec import SpecError

WRONG = (
    CanaryError,
    ClaimError,
    DataError,
    ExecutionError,
    ExportError,
    MergeError,
    RecordError,
    SelectionError,
    SpecError,
    UnknownExperiment,
    OSError,
)
"""What is told in a sentence."""
BAD_INPUT = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; {self.prog} --help shows what is allowed\n")


def parser() -> Parser:
    """All commands with their options."""
    top = Parser(prog="python -m adatune_lite", description="Make runs, look at them, find data.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (run, gpu, inspect, exchange, canary, data, scorecard):
        module.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one command; returns the exit code: 0, 1 (something failed or was found wrong), 2 (bad input)."""
    _speak_in_any_case()
    given = parser().parse_args(arguments)
    try:
        return int(given.do(given))
    except BrokenPipeError:
        # Whoever read the output has read enough; without this the interpreter would complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except WRONG as error:
        print(f"{parser().prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("stopped; finished runs are kept, and the same command goes on from there", file=sys.stderr)
        return INTERRUPTED


def _speak_in_any_case() -> None:
    """Names of files that are no text are written with escapes; a stream that was closed swallows."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # to the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
