"""The mutation check: faults planted in the package, each of which named tests must notice.

    python tests/mutate.py [WORD ...]     all faults, or those with one of the words in their name

The tests first pass on the package as it is. Each fault is then one replacement in a copy of it, on which its
tests run in a process of their own; at least one must fail. Tests that cannot be collected notice nothing. A
fault whose text is no longer there is an error: the list in `mutations` must follow the code.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mutations import FAULTS, Fault

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "adatune_lite"
SHARED = ["torch._dynamo", "pytest"]
"""What is imported once for all; torch's optimizers import the first of them, which takes seconds."""
LIMIT = 120
"""Seconds to wait for the tests of one fault, which may loop forever."""


class Unnoticed(Exception):
    """A fault that its tests did not notice, or that cannot be planted."""


def plant(fault: Fault, package: Path) -> None:
    """The replacement, in a copy of the package; raises Unnoticed where the text does not stand once."""
    file = package / fault.file
    text = file.read_text(encoding="utf-8")
    if (count := text.count(fault.old)) != 1:
        raise Unnoticed(f"its text stands {count} times in {fault.file}, not once: {fault.old!r}")
    file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def run(tests: Sequence[str], root: Path, fault: Fault | None = None) -> tuple[int, str, float]:
    """pytest's exit code, what it printed, and seconds, on a copy of the package with the fault, if any.

    To be called in a process of its own, which has not imported the package.
    """
    import pytest

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
        copy = Path(folder) / PACKAGE
        shutil.copytree(root / PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if fault:
            plant(fault, copy)
        os.chdir(root)
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = folder
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])
    return int(code), printed.getvalue(), time.monotonic() - start


def judge(fault: Fault, code: int, printed: str) -> None:
    """Raises Unnoticed unless a test failed."""
    if code == 0:
        raise Unnoticed(f"these pass all the same: {', '.join(fault.tests)}")
    if code != 1:
        raise Unnoticed(f"pytest ended with code {code}, which is no failed test:\n{printed[-2000:]}")


def main(words: Sequence[str] = (), faults: Sequence[Fault] = tuple(FAULTS), root: Path = ROOT) -> int:
    """0 when all faults are noticed."""
    faults = [f for f in faults if not words or any(word in f.name for word in words)]
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SHARED)
    missed = 0
    with context.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        sound = pool.apply_async(run, (sorted({test for fault in faults for test in fault.tests}), root))
        tried = [(fault, pool.apply_async(run, (fault.tests, root, fault))) for fault in faults]
        code, printed, seconds = sound.get()
        if code:
            print(f"the tests do not pass on the package as it is:\n{printed[-4000:]}", file=sys.stderr)
            return 1
        print(f"the tests pass in {seconds:.1f} s on the package as it is", flush=True)
        for fault, result in tried:
            try:
                code, printed, seconds = result.get(LIMIT)
                judge(fault, code, printed)
                print(f"noticed in {seconds:4.1f} s: {fault.name}", flush=True)
            except multiprocessing.TimeoutError:
                missed += 1
                print(f"NOT NOTICED: {fault.name}: no answer within {LIMIT} s", file=sys.stderr, flush=True)
            except Unnoticed as error:
                missed += 1
                print(f"NOT NOTICED: {fault.name}: {error}", file=sys.stderr, flush=True)
    print(f"{len(faults) - missed} of {len(faults)} planted faults noticed")
    return 1 if missed or not faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
