"""What notebooks share: a check of their parameters, one call that makes the runs exist, and provenance."""

from __future__ import annotations

import html
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.display import Markdown
    from matplotlib.figure import Figure

    from adatune_lite.report.groups import Page
    from adatune_lite.runs.record import Record

ALLOWED: dict[str, tuple[str, ...]] = {
    "profile": ("smoke", "quick", "desk", "paper"),
    "reuse": ("store", "none"),
    "missing": ("compute", "skip"),
    "device": ("auto", "cpu", "cuda"),
}
"""Parameters of every notebook and their values; `jobs` is a whole number besides."""
_SHELL = {"In", "Out", "exit", "quit", "get_ipython", "open"}
_BADGES = {
    "smoke": "smoke: a test of the code, not a result",
    "quick": "quick: reduced scale, embedded data",
    "desk": "desk: hours on a CPU, real data",
    "paper": "paper: the paper's settings",
    "none": "no records yet",
}


class ParameterError(ValueError):
    """A notebook was given a parameter that it does not have, or a value that is not allowed."""


def check(namespace: Mapping[str, object]) -> None:
    """Refuse unknown or mistyped parameters; call it right after the parameters cell with `globals()`.

    Raises ParameterError with the names or values that are allowed.
    """
    given = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in _SHELL and not isinstance(value, types.ModuleType)
    }
    known = [*ALLOWED, "jobs"]
    for name, value in given.items():
        if name not in known:
            raise ParameterError(f"unknown parameter {name!r}; allowed: {', '.join(known)}")
        if name in ALLOWED and value not in ALLOWED[name]:
            raise ParameterError(f"{name} must be one of {', '.join(ALLOWED[name])}, not {value!r}")
        if name == "jobs" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ParameterError(f"jobs must be a whole number, 0 for one per core, not {value!r}")
    missing = [name for name in known if name not in given]
    if missing:
        raise ParameterError(f"the parameters cell lacks {missing[0]!r}")


def load(
    experiment: str,
    profile: str,
    *,
    reuse: str = "store",
    missing: str = "compute",
    device: str = "auto",
    jobs: int = 0,
) -> Any:
    """The results of an experiment, its missing runs made first.

    reuse: "store" takes the records that are there; "none" computes every run again in a folder of its own,
        where `differences` compares it with the committed ones.
    missing: "compute", or "skip" to show what is there, records that are stale among them.
    jobs: runs at a time, 0 for one per core (one in `smoke`).

    Returns the experiment's Results. Raises RuntimeError when a run failed.
    """
    from adatune_lite.experiments import find
    from adatune_lite.runs.compare import store_for_again
    from adatune_lite.runs.execute import complete, default_jobs
    from adatune_lite.runs.freshness import WithStale
    from adatune_lite.runs.store import stores_for

    module = find(experiment)
    store = stores_for(profile) if reuse == "store" else store_for_again()
    if missing == "skip":
        return module.results(profile, WithStale(store))
    workers = jobs or default_jobs(profile)
    summary = complete(module, profile, store, jobs=workers, device=device)
    if summary.failed:
        raise RuntimeError(f"{len(summary.failed)} runs failed; the first: {summary.failed[0]}")
    return module.results(profile, store)


def differences(results: Any) -> Markdown:
    """Recomputed runs beside the records that were there, largest differences first."""
    from adatune_lite.runs.compare import HEAD, compare
    from adatune_lite.runs.store import stores_for

    found = compare(results.planned, stores_for(results.profile), results.store)
    lines = [found.sentence()]
    if found.rows:
        lines += ["", f"| {' | '.join(HEAD)} |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in found.rows]
    return _markdown("\n".join(lines))


def badge(profile: str, records: Sequence[Record] = ()) -> Markdown:
    """Which profile a page shows, and how many of its records are stale."""
    kind = profile if records else "none"
    count = f" · {len(records)} runs" if records else ""
    parts = [f'<span class="badge-profile {kind}">{_BADGES[kind]}{count}</span>', stale_badge(records)]
    return _markdown(" ".join(filter(None, parts)))


def stale_badge(records: Iterable[Record]) -> str:
    """HTML that says how many of the records are stale; empty if none is."""
    from adatune_lite.runs.store import is_stale

    held = list(records)
    stale = sum(map(is_stale, held))
    if not stale:
        return ""
    which = "all runs" if stale == len(held) else f"{stale} of {len(held)} runs"
    return f'<span class="badge-profile stale">stale: the code has changed since {which}</span>'


def show(figure: Figure, records: Iterable[Record], alt: str) -> None:
    """A figure, described in words for those who cannot see it, with the essence of its records under it.

    Without records only that is said: an empty picture tells nothing.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    held = list(records)
    if held:
        picture(figure, alt)
    plt.close(figure)
    display(provenance(held))


def picture(figure: Figure, alt: str) -> None:
    """A figure that is drawn from no records, described in words for those who cannot see it."""
    import matplotlib.pyplot as plt
    from IPython.display import display

    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def provenance(records: Iterable[Record]) -> Markdown:
    """What ran where, when and on what, in a small line; stale records are marked."""
    held = list(records)
    if not held:
        return _markdown('<div class="provenance">No records yet.</div>')

    def each(key: str) -> str:
        return ", ".join(sorted({str(r.provenance.get(key, "unknown")) for r in held}))

    commits = sorted({_commit(r) for r in held})
    starts = sorted(str(r.provenance.get("start", ""))[:10] for r in held)
    kinds, precisions = sorted({r.device for r in held}), sorted({r.precision for r in held})
    parts = [
        f"{len(held)} runs, {sum(r.diverged for r in held)} diverged",
        f"seeds {', '.join(map(str, sorted({r.spec.seed for r in held})))}",
        f"data: {', '.join(sorted({_data(r) for r in held}))}",
        f"{', '.join(kinds)}, {each('device_name')}, torch {each('torch')}, {', '.join(precisions)}",
        f"commit {', '.join(commits)}",
        " to ".join(dict.fromkeys((starts[0], starts[-1]))),
        f"{sum(r.cost.get('seconds', 0.0) for r in held) / 3600:.2f} core-hours",
    ]
    line = " ".join(filter(None, (stale_badge(held), html.escape(" · ".join(parts)))))
    return _markdown(f'<div class="provenance">{line}</div>')


def _data(record: Record) -> str:
    known = "" if record.provenance.get("data_verified", True) else ", unverified"
    return str(record.provenance.get("data_source", "unknown")) + known


def _commit(record: Record) -> str:
    changed = "+changes" if record.provenance.get("dirty") else ""
    return str(record.provenance.get("commit") or "unknown")[:10] + changed


def table(found: object) -> Markdown:
    """A table or a paragraph."""
    return _markdown(str(found))


def best_profile(experiment: str) -> str | None:
    """The committed profile to show: "paper" once it is complete, "desk" as soon as it has a record, or None.

    The two share runs, so that a part of `paper` is no sign that anything was run at its scale. Stale
    records count: they are shown with a mark.
    """
    page = _best_page(experiment)
    return page.profile if page else None


def _best_page(experiment: str) -> Page[Any] | None:
    from adatune_lite.experiments import find
    from adatune_lite.runs.freshness import WithStale
    from adatune_lite.runs.store import stores_for

    module, store = find(experiment), WithStale(stores_for("desk"))
    paper: Page[Any] = module.results("paper", store)
    if not paper.missing():
        return paper
    desk: Page[Any] = module.results("desk", store)
    return desk if desk.all_records() else None


def includes() -> dict[str, str]:
    """What chapters show from committed records, by name of the file: findings and tables for practice.

    finding: the main one of the book, of experiment 01. decision, optimizers, schedules: tables. autolr: what
    experiment 06 found. Each is marked if it is stale.
    """
    from adatune_lite.experiments import autolr_vs_schedules as sixth
    from adatune_lite.experiments import decision
    from adatune_lite.experiments import is_the_hypergradient_right as second
    from adatune_lite.experiments import lrs_opt_vs_marthe as first
    from adatune_lite.experiments.autolr_vs_schedules import findings
    from adatune_lite.experiments.lrs_opt_vs_marthe import tables as first_tables

    return {
        "finding.md": _committed(first, first_tables.finding),
        "decision.md": _committed(first, decision.chapter),
        "optimizers.md": _committed(second, decision.optimizers),
        "schedules.md": _committed(sixth, findings.chapter),
        "autolr.md": _committed(sixth, findings.first_page),
    }


def _committed(experiment: types.ModuleType, text: Callable[[Any], object]) -> str:
    page = _best_page(experiment.NAME)
    if page is None:
        return "No committed records yet."
    return "\n\n".join(filter(None, (stale_badge(page.all_records()), str(text(page)))))


def _markdown(text: str) -> Markdown:
    from IPython.display import Markdown

    return Markdown(text)
