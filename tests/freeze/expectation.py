"""Computing what is held, keeping it in files, and telling what differs."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from . import drawn, sources
from .records import Filled, Kept, checkout

FOLDER = Path(__file__).with_name("expected")
PARTS = (*sources.NUMBERS, "site")
"""What is written and compared by itself: the experiments, and what the site shows of all of them."""
FILLED = ("01", "02", "05", "06")
"""Experiments whose page can be made from made-up records too: in 03 and 04 series are named by steps."""

Outputs = dict[str, list[str]]
"""Lines by the output's name, such as "06/desk/tables.paper(t4)"."""


def compute(part: str) -> Outputs:
    """What the code gives now."""
    mpl.use("Agg")
    with sources.every_record_fresh():
        if part == "site":
            with checkout():
                texts = {**sources.included(), "scorecard": sources.scorecard()}
            return {f"site/{name}": text.splitlines() for name, text in texts.items()}
        outputs: Outputs = {}
        for profile in sources.PROFILES:
            outputs |= _profile(part, profile, f"{part}/{profile}", Kept())
            outputs[f"{part}/{profile} filled/plan"] = _plan(sources.plan(part, profile, Filled()))
        if part in FILLED:
            outputs |= _profile(part, "paper", f"{part}/paper filled", Filled())
        return outputs


def _profile(number: str, profile: str, name: str, store: Any) -> Outputs:
    results = sources.open_results(number, profile, store)
    texts = {key: sources.call(number, key, results) for key in sources.TEXTS[number]}
    figures = {key: _drawn(sources.call(number, key, results)) for key in sources.FIGURES[number]}
    verdicts = sources.verdicts(number, results)
    outputs = {
        "plan": _plan(sources.plan(number, profile, store)),
        **{key: str(text).splitlines() for key, text in texts.items()},
        **figures,
        **{f"verdict {verdict.claim.id}": _verdict(verdict) for verdict in verdicts},
        "verdicts": sources.verdict_table(verdicts).splitlines(),
    }
    if isinstance(store, Kept):  # The invariants refuse what is made up, as they should.
        outputs["records checked"] = [str(sources.checked(number, results))]
    if profile == "desk":
        known = {tuple(lines): key for key, lines in outputs.items()}
        outputs["page"] = [_shown(known, *entry) for entry in sources.shown(number, results)]
    return {f"{name}/{key}": lines for key, lines in outputs.items()}


def _drawn(figure: Any) -> list[str]:
    import matplotlib.pyplot as plt

    lines = drawn.lines(figure)
    plt.close(figure)
    return lines


def _plan(planned: Sequence[Any]) -> list[str]:
    """The runs in their order, under a heading wherever role or priority change."""
    lines: list[str] = []
    last = ""
    for run in planned:
        heading = f"{run.role}, priority {run.priority:g}"
        if heading != last:
            lines.append(f"{heading}:")
        lines.append(run.spec.hash[:12])
        last = heading
    return lines


def _verdict(verdict: Any) -> list[str]:
    statistic = ", ".join(f"{name} {value:.9g}" for name, value in verdict.statistic.items())
    return [
        f"{verdict.outcome}; profile {verdict.profile!r}, {verdict.seeds} seeds",
        statistic,
        verdict.why,
        f"{len(verdict.runs)} runs [{_digest(verdict.runs)}]",
    ]


def _shown(known: Mapping[tuple[str, ...], str], kind: str, what: Any, records: list[Any], alt: str) -> str:
    """A thing on a page: by name if it is one of the outputs; with the records that stand under it."""
    lines = _drawn(what) if kind == "figure" else str(what).splitlines()
    name = known.get(tuple(lines), f"[{_digest(lines)}] {' '.join(lines)[:80]}")
    under = f"; {len(records)} records [{_digest(r.spec.hash for r in records)}]" if records else ""
    return f"{kind} {name}{under}{f'; {alt}' if alt else ''}"


def _digest(words: Any) -> str:
    return hashlib.sha256("\n".join(sorted(set(words))).encode()).hexdigest()[:8]


def write(part: str) -> None:
    """Keep what the code gives now; of equal outputs only the first is written out."""
    outputs = compute(part)
    first: dict[tuple[str, ...], str] = {}
    body = {
        name: lines if (same := first.setdefault(tuple(lines), name)) == name or len(lines) < 2 else same
        for name, lines in outputs.items()
    }
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(body, ensure_ascii=False, indent=0) + "\n"
    (FOLDER / f"{part}.json").write_text(text, encoding="utf-8")


def read(part: str) -> Outputs:
    """What was kept."""
    body = json.loads((FOLDER / f"{part}.json").read_text(encoding="utf-8"))
    return {name: body[lines] if isinstance(lines, str) else lines for name, lines in body.items()}


def differences(expected: Outputs, present: Outputs) -> Iterator[str]:
    """A diff of each output that is not as expected; equal diffs are told once."""
    told: dict[tuple[str, ...], str] = {}
    for name in dict.fromkeys((*expected, *present)):
        if name not in present:
            yield f"{name} is gone"
        elif name not in expected:
            yield f"{name} is new"
        elif expected[name] != present[name]:
            diff = list(difflib.unified_diff(expected[name], present[name], "frozen", "now", "", "", 1, ""))
            same = told.setdefault(tuple(diff), name)
            yield "\n".join([name, *diff[2:]]) if same == name else f"{name}: the same as in {same}"
