"""Canaries: small runs that tell whether a change of the deciding code changed the numbers.

Every experiment that keeps records has a module `canary` with `runs()`, small versions of all its kinds of
run by name, and, where some start from a schedule, `sources()`, records of written-down ones. They are made
in float64 along at most 20 steps and compared with those kept in data/canaries (see `freshness`).

Tolerance: two values are equal if they differ by at most 1e-9 of the largest magnitude in their series. Two
builds of BLAS, or two widths of vector instructions, add in another order; one such difference is 1e-16 in
float64, and here they stayed below 1e-15 between a cpu's widest instructions and none at all. Training can
make them grow, hence the room; a fault in a formula shows in the first digits. Initial weights are drawn in
float64 for this reason: in float32 their last digit hangs on the width of the instructions, and the figures
then differ by 3e-7. A relative error (ERRORS) is compared with 1 and not with itself: that of an exact
derivative is rounding alone, and another processor's is another one. A golden hash of floats would break with
every new torch.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import torch

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs import freshness, provenance
from adatune_lite.runs.freshness import Canary, CanaryError, Part, Small
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import one_thread, seeded, without_log
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.spec import RunSpec

TOLERANCE = 1e-9
"""Of the largest magnitude in a series; its reason is above."""
MOST_STEPS = 20
ERRORS = ("final relative_error",)
"""Figures that are a part of another one."""

Made = dict[str, dict[str, Small]]
"""By run function and name of the run."""


@dataclass(frozen=True)
class Finding:
    """What the canary says about one run function of an experiment."""

    function: str
    code: str
    """Hash of the present code."""
    listed: bool
    """The kept canary came out equal at that hash before."""
    differences: tuple[str, ...]
    """A sentence for each small run that came out otherwise; empty if none did."""
    kept: Part | None
    """What is kept; None: nothing yet."""
    made: dict[str, Small]
    """What came out now."""

    @property
    def proven(self) -> bool:
        """Whether there is nothing to do: equal, known to be, and of all runs that there are."""
        return self.listed and not self.differences and self.kept is not None and not self.new

    @property
    def new(self) -> list[str]:
        """Small runs that the kept canary does not have."""
        return sorted(self.made.keys() - (self.kept.runs if self.kept else {}).keys())


def has_canary(experiment: ModuleType) -> bool:
    """Whether an experiment's package has a module `canary`."""
    name = f"{experiment.__name__}.canary"
    return hasattr(experiment, "__path__") and importlib.util.find_spec(name) is not None


def sources(specs: ModuleType) -> list[Record]:
    """The records that the small runs of a module `canary` start from."""
    return specs.sources() if hasattr(specs, "sources") else []


def compute(experiment: ModuleType) -> Made:
    """Make the small runs of an experiment, a few seconds in one thread on the cpu.

    Raises:
        CanaryError: the experiment has no canary, or one that is not small.
    """
    if not has_canary(experiment):
        raise CanaryError(f"{experiment.NAME} has no canary: write {experiment.__name__}.canary")
    specs = importlib.import_module(f"{experiment.__name__}.canary")
    made: Made = {}
    with tempfile.TemporaryDirectory() as folder, one_thread(), without_log(), _float64():
        store = Store(Path(folder))
        for record in sources(specs):
            store.put(record)
        for position, (name, spec) in enumerate(specs.runs().items()):
            if spec.precision != "float64" or spec.steps > MOST_STEPS:
                raise CanaryError(
                    f"the canary's run {name!r} must be float64 and at most {MOST_STEPS} steps long"
                )
            context = Context("cpu", store, Checkpoint(Path(folder) / f"{position}.pt", name))
            with seeded(spec, "cpu"):
                outcome = registry.function(spec.function).run(spec, context)
            made.setdefault(spec.function, {})[name] = _small(spec, outcome)
    return made


@contextlib.contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _small(spec: RunSpec, outcome: Outcome) -> Small:
    figures = {}
    for name, series in outcome.series.items():
        values = series.values if isinstance(series, Series) else series
        figures[name] = tuple(float(value) for value in values)
    figures |= {f"final {name}": (float(value),) for name, value in outcome.metrics.items()}
    # Seconds are a cost too, and nothing to compare.
    counts = {name: value for name, value in outcome.cost.items() if not name.endswith("seconds")}
    figures |= {f"cost {name}": (float(value),) for name, value in counts.items()}
    return Small(spec.hash[:16], outcome.status, figures)


def examine(experiment: ModuleType) -> list[Finding]:
    """Make the small runs and compare them with those kept, a finding for each run function.

    Raises:
        CanaryError: the experiment has no canary, or the kept one cannot be used.
    """
    kept = freshness.read(experiment.NAME)
    findings = []
    for function, made in compute(experiment).items():
        part = kept.parts.get(function) if kept else None
        code = provenance.code_hash(function)
        found = tuple(differences(part.runs, made)) if part else ()
        findings.append(Finding(function, code, bool(part and code in part.codes), found, part, made))
    return findings


def differences(kept: Mapping[str, Small], made: Mapping[str, Small]) -> Iterator[str]:
    """A sentence for each kept run that is gone or came out otherwise; new runs are no difference."""
    for name, before in kept.items():
        now = made.get(name)
        if now is None or now.spec != before.spec:
            yield f"{name}: it is another run now, or none"
        elif now.status != before.status:
            yield f"{name}: {before.status} before, {now.status} now"
        elif now.figures.keys() != before.figures.keys():
            other = ", ".join(sorted(now.figures.keys() ^ before.figures.keys()))
            yield f"{name}: only one of the two has {other}"
        else:
            figures = {
                figure: deviation(before.figures[figure], now.figures[figure], float(figure in ERRORS))
                for figure in now.figures
            }
            worst = max(figures, key=lambda figure: figures[figure])
            if figures[worst] > TOLERANCE:
                of = "1" if worst in ERRORS else "its largest value"
                yield f"{name}: {worst} differs by {figures[worst]:.1g} of {of}"


def deviation(before: tuple[float, ...], now: tuple[float, ...], least: float = 0.0) -> float:
    """Largest difference of two series over the largest magnitude of the first; inf if not comparable.

    least: what that magnitude is taken for where it is smaller. Entries that are not finite must be the same
    ones.
    """
    if len(before) != len(now):
        return math.inf
    size = max((abs(value) for value in before if math.isfinite(value)), default=0.0)
    size = max(size, least)
    worst = 0.0
    for a, b in zip(before, now, strict=True):
        if a == b or (math.isnan(a) and math.isnan(b)):
            continue
        difference = abs(a - b) / size if size else math.inf
        worst = max(worst, difference if math.isfinite(difference) else math.inf)
    return worst


def accept(experiment: ModuleType, findings: list[Finding], renew: bool = False) -> Path:
    """Keep what was found: equal canaries under the present code hash too, new small runs beside the old.

    renew: also replace canaries that differ. Records of the hashes that they were equal at are stale from
        then on, unless the present one is among these: then not the code but torch changed.

    Raises:
        CanaryError: a canary differs and is not to be renewed: nothing is changed.
        OSError: the file cannot be written; the old one stays.
    """
    canary = freshness.read(experiment.NAME) or Canary(experiment.NAME, {})
    for found in findings:
        if found.differences and not renew:
            raise CanaryError(f"the canary of {experiment.NAME} differs: {found.differences[0]}")
        canary = canary.with_part(found.function, _updated(found))
    return freshness.write(canary)


def _updated(found: Finding) -> Part:
    if found.kept is None or (found.differences and not found.listed):
        return Part((found.code,), torch.__version__, found.made)
    codes = tuple(dict.fromkeys((*found.kept.codes, found.code)))
    if found.differences:
        return Part(codes, torch.__version__, found.made)
    # The digits first kept stay the yardstick: small steps within the tolerance must not add up.
    return replace(found.kept, codes=codes, runs={**found.made, **found.kept.runs})


def advice(experiment: ModuleType, found: Finding, store: Store) -> str:
    """What a finding means and which command to run, in a sentence or two; empty if nothing is to be done."""
    if found.proven:
        return ""
    number = experiment.NAME.split("_")[0]
    command = f"python -m adatune_lite canary {number}"
    if found.kept is None:
        return f"{found.function} has no canary yet: `{command} --accept` makes it."
    if not found.differences:
        what = f"has {len(found.new)} new runs" if found.listed else "is equal under changed code"
        return f"The canary of {found.function} {what}: `{command} --accept` says so, and records stay fresh."
    examples = "; ".join(found.differences[:3])
    if len(found.differences) > 3:
        examples += f"; and {len(found.differences) - 3} more"
    if found.listed:
        return (
            f"The code of {found.function} is the same and its numbers are not ({examples}). The canary was "
            f"made with torch {found.kept.torch}, this is {torch.__version__}; else a module that is not "
            f"hashed decides numbers. Find out which; `{command} --renew` keeps the new digits."
        )
    stale = Counter(
        record.labels.get("profile", "")
        for record in store.records(experiment.NAME)
        if record.spec.function == found.function and record.code != found.code
    )
    rerun = ", ".join(
        f"`python -m adatune_lite run {number} --profile {profile}` ({count} stale records)"
        for profile, count in sorted(stale.items())
    )
    then = f", then rerun {rerun}" if rerun else "; no record depends on it"
    return (
        f"The code of {found.function} has changed, and its numbers with it ({examples}). If that is not "
        f"meant, undo it; if it is: `{command} --renew`{then}."
    )
