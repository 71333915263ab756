"""Runs made in a process of their own, so that two versions of the code can be compared in one place.

    python -m adatune_lite.runs.again < question > answer

The question is {"specs": [...], "store": FOLDER, "run": true or false}, the specs in their canonical form;
store: records that some runs start from. The answer has one entry for each spec: "code", the hash of the code
that decides its numbers, and if it was run "status" and "figures", each a list of hexadecimal floats, or
"missing", a sentence that says which data are not there. A later version of the code asks this one, so that
question and answer must stay as they are.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs import canary, provenance
from adatune_lite.runs.provenance import Kind
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import one_thread, seeded, without_log
from adatune_lite.tasks.data import DataError
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.spec import RunSpec


def answer(question: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of the answer, see above."""
    found = []
    for body in question["specs"]:
        spec = RunSpec.from_dict(body)
        entry = {"code": provenance.code_hash(Kind.of(spec))}
        found.append(entry | (_made(spec, Store(question["store"])) if question["run"] else {}))
    return found


def _made(spec: RunSpec, store: Store) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, one_thread(), without_log(), seeded(spec, "cpu"):
        context = Context("cpu", store, Checkpoint(Path(folder) / "run.pt", "again"))
        try:
            outcome = registry.function(spec.function).run(spec, context)
        except DataError as error:
            return {"missing": str(error)}
    figures = {name: [value.hex() for value in values] for name, values in canary.figures(outcome).items()}
    return {"status": outcome.status, "figures": figures}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
