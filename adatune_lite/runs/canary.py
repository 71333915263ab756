"""Canaries: small runs that tell whether a change of the deciding code changed the numbers.

Every experiment that keeps records has a module `canary` with `runs()`, small versions of all its kinds of
run by name, and, where some start from a schedule, `sources()`, records of written-down ones. They are
compared with those kept in data/canaries (see `freshness`). Most are in float64 and at most 20 steps long; of
each run function at least one reaches beyond three epochs, 64 steps and 1,000 images of evaluation (see
`reaching`), since a fault may begin there, and one is in float32.

Tolerance: two values are equal if they differ by at most 1e-9 of the largest magnitude in their series. Two
builds of BLAS, or two widths of vector instructions, add in another order; one such difference is 1e-16 in
float64, and here they stayed below 1e-15 between a cpu's widest instructions and none at all, also over 72
steps; derivatives by differences stayed below 3e-10. Training can make them grow, hence the room; a fault in
a formula shows in the first digits. Initial weights are drawn in float64 for this reason: in float32 their
last digit depends on the width of the instructions, and the figures then differ by 3e-7. A relative error
(ERRORS) is compared with 1 and not with itself: that of an exact derivative is rounding alone, and another
processor's is another one. A golden hash of floats would break with every new torch.

In float32 the same differences are 1e-7, and 1e-4 is allowed; weights rounded to half precision differ by
more. Only losses, rates and hypergradients are compared: a difference of two nearly equal losses has no
digits left that all processors share.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import torch

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs import freshness, provenance
from adatune_lite.runs.freshness import Canary, CanaryError, Evidence, SmallRun
from adatune_lite.runs.provenance import Kind
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import one_thread, seeded, without_log
from adatune_lite.tasks.spec import Value, pairs
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.spec import RunSpec

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
"""Of the largest magnitude in a series, by precision; the reason is above."""
MOST_STEPS = {"float64": 72, "float32": 20}
EPOCHS, STEPS, IMAGES = 3, 64, 1000
"""What at least one small run of each run function goes beyond: epochs, steps, images of each evaluation."""
ERRORS = ("final relative_error",)
"""Figures that are a part of another one."""

SmallRuns = dict[Kind, dict[str, SmallRun]]
"""By kind and name."""


@dataclass(frozen=True)
class Finding:
    """What the canary says about one kind of run of an experiment."""

    kind: Kind
    code: str
    """Hash of the present code."""
    differences: tuple[str, ...]
    """A sentence for each small run that came out otherwise; empty if none did."""
    kept: Evidence | None
    """What is kept; None: nothing yet."""
    made: dict[str, SmallRun]
    """What came out now."""

    @property
    def listed(self) -> bool:
        """Whether the kept canary came out equal at the present code before."""
        return self.kept is not None and self.kept.knows(self.code)

    @property
    def proven(self) -> bool:
        """Whether there is nothing to do: equal, known to be, and of all runs that there are."""
        return self.listed and not (self.differences or self.new or self.provisional)

    @property
    def provisional(self) -> bool:
        """Whether a desk run is still to be compared."""
        return self.kept is not None and bool(self.kept.provisional)

    @property
    def changed(self) -> bool:
        """Whether the small runs came out equal under code that no desk run was compared under."""
        accepted = self.kept and self.code[: freshness.SHORT] in self.kept.codes and not self.provisional
        return self.kept is not None and not self.differences and not accepted

    @property
    def new(self) -> list[str]:
        """Small runs that the kept canary does not have."""
        return sorted(self.made.keys() - (self.kept.runs if self.kept else {}).keys())


def reaching(spec: RunSpec, steps: int = MOST_STEPS["float64"], **settings: Value) -> RunSpec:
    """A small run that goes beyond EPOCHS, STEPS and IMAGES, for the canary of an experiment.

    settings: those that a longer run needs changed.
    """
    images = IMAGES + 100
    task = replace(spec.task, validation=images, test=images)
    return replace(spec, steps=steps, task=task, settings=pairs({**dict(spec.settings), **settings}))


def reaches(spec: RunSpec, longest: int = STEPS + 1) -> bool:
    """Whether a small run goes beyond EPOCHS and IMAGES, and beyond STEPS where `longest`, a run of its
    function in the records, does.
    """
    task = spec.task
    epochs = spec.steps / (task.train // task.batch)
    return (
        epochs > EPOCHS
        and min(task.validation, task.test) > IMAGES
        and (spec.steps > STEPS or longest <= STEPS)
    )


def has_canary(experiment: ModuleType) -> bool:
    """Whether an experiment's package has a module `canary`."""
    name = f"{experiment.__name__}.canary"
    return hasattr(experiment, "__path__") and importlib.util.find_spec(name) is not None


def specs(experiment: ModuleType) -> tuple[dict[str, RunSpec], list[Record]]:
    """The small runs of an experiment by name, and the records that some of them start from.

    Raises:
        CanaryError: the experiment has no canary, or one that is not small.
    """
    if not has_canary(experiment):
        raise CanaryError(f"{experiment.NAME} has no canary: write {experiment.__name__}.canary")
    module = importlib.import_module(f"{experiment.__name__}.canary")
    found: dict[str, RunSpec] = module.runs()
    for name, spec in found.items():
        if spec.steps > (most := MOST_STEPS[spec.precision]):
            raise CanaryError(
                f"the canary's run {name!r} in {spec.precision} must be at most {most} steps long"
            )
    return found, module.sources() if hasattr(module, "sources") else []


def compute(experiment: ModuleType) -> SmallRuns:
    """Make the small runs of an experiment, a few seconds in one thread on the cpu.

    Raises:
        CanaryError: the experiment has no canary, or one that is not small.
    """
    wanted, sources = specs(experiment)
    made: SmallRuns = {}
    with tempfile.TemporaryDirectory() as folder, one_thread(), without_log(), _float64():
        store = Store(Path(folder))
        for record in sources:
            store.put(record)
        for position, (name, spec) in enumerate(wanted.items()):
            context = Context("cpu", store, Checkpoint(Path(folder) / f"{position}.pt", name))
            with seeded(spec, "cpu"):
                outcome = registry.function(spec.function).run(spec, context)
            made.setdefault(Kind.of(spec), {})[name] = _small(spec, outcome)
    return made


@contextlib.contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def figures(outcome: Outcome) -> freshness.Figures:
    """Series, metrics and cost of a run by name; seconds, which are a cost too, left out."""
    found = {}
    for name, series in outcome.series.items():
        values = series.values if isinstance(series, Series) else series
        found[name] = tuple(float(value) for value in values)
    found |= {f"final {name}": (float(value),) for name, value in outcome.metrics.items()}
    counts = {name: value for name, value in outcome.cost.items() if not name.endswith("seconds")}
    return found | {f"cost {name}": (float(value),) for name, value in counts.items()}


def _small(spec: RunSpec, outcome: Outcome) -> SmallRun:
    kept = figures(outcome)
    if spec.precision == "float32":
        kept = {name: values for name, values in kept.items() if _firm(name)}
    return SmallRun(spec.hash[:16], outcome.status, kept, spec.precision)


def _firm(name: str) -> bool:
    return name in ("lr", "hypergradient") or name.endswith("loss")


def examine(experiment: ModuleType) -> list[Finding]:
    """Make the small runs and compare them with those kept, a finding for each kind of run.

    Raises:
        CanaryError: the experiment has no canary, or the kept one cannot be used.
    """
    kept = freshness.read(experiment.NAME)
    findings = []
    for kind, made in compute(experiment).items():
        held = kept.evidence(kind, list(made)) if kept else None
        found = tuple(differences(held.runs, made)) if held else ()
        findings.append(Finding(kind, provenance.code_hash(kind), found, held, made))
    return findings


def differences(kept: Mapping[str, SmallRun], made: Mapping[str, SmallRun]) -> Iterator[str]:
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
            found = {
                figure: deviation(before.figures[figure], now.figures[figure], float(figure in ERRORS))
                for figure in now.figures
            }
            worst = max(found, key=lambda figure: found[figure])
            if found[worst] > TOLERANCE[now.precision]:
                of = "1" if worst in ERRORS else "its largest value"
                yield f"{name}: {worst} differs by {found[worst]:.1g} of {of}"


def deviation(before: Sequence[float], now: Sequence[float], least: float = 0.0) -> float:
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


def accept(
    experiment: ModuleType,
    findings: Sequence[Finding],
    *,
    desk: Mapping[str, bool | None],
    used: Iterable[str] = (),
    renew: bool = False,
) -> Path:
    """Keep what was found: equal canaries under the present code hash too, new small runs beside the old.

    desk: by run function, whether a desk run came out equal bit for bit under both codes; None: it was not
        compared, and the present code is accepted provisionally. Functions that need none may be left out.
    used: code hashes of records, whose provisional acceptance is worth keeping.
    renew: also replace canaries that differ. Records of the hashes that they were equal at are stale from
        then on, unless the present one is among these: then not the code but torch changed.

    Raises:
        CanaryError: a canary or a desk run differs and is not to be renewed: nothing is changed.
        OSError: the file cannot be written; the old one stays.
    """
    canary = freshness.read(experiment.NAME) or Canary(experiment.NAME, {})
    short = {code[: freshness.SHORT] for code in used}
    for found in findings:
        equal = desk.get(found.kind.function, True) if found.changed else True
        if not renew and found.differences:
            raise CanaryError(f"the canary of {experiment.NAME} differs: {found.differences[0]}")
        if not renew and equal is False:
            raise CanaryError(
                f"a desk run of {found.kind.function} differs: {experiment.NAME} stays as it was"
            )
        canary = canary.with_evidence(found.kind, _updated(found, equal, short))
    return freshness.write(replace(canary, unsorted={}))


def _updated(found: Finding, equal: bool | None, used: set[str]) -> Evidence:
    kept, code = found.kept, found.code[: freshness.SHORT]
    if kept is None or equal is False or (found.differences and not found.listed):
        return Evidence((code,), torch.__version__, found.made)
    if found.changed and equal:
        codes = dict.fromkeys((*kept.codes, *(c for c in kept.provisional if c in used), code))
        kept = replace(kept, codes=tuple(codes), provisional=())
    elif found.changed and not found.listed:
        kept = replace(kept, provisional=(*kept.provisional, code))
    if found.differences:
        return replace(kept, torch=torch.__version__, runs=found.made)
    # The digits first kept stay the yardstick: small steps within the tolerance must not add up.
    return replace(kept, runs={**found.made, **kept.runs})


def advice(experiment: ModuleType, findings: Sequence[Finding], store: Store) -> str:
    """What the findings of one run function mean and which command to run; empty if nothing is to be done."""
    left = [found for found in findings if not found.proven]
    if not left:
        return ""
    function = left[0].kind.function
    command = f"python -m adatune_lite canary {experiment.NAME.split('_')[0]}"
    other = [found for found in left if found.differences]
    if not other:
        return f"{_what(function, left)}: `{command} --accept` {_then(left)}."
    sentences = [sentence for found in other for sentence in found.differences]
    examples = "; ".join(sentences[:3])
    if len(sentences) > 3:
        examples += f"; and {len(sentences) - 3} more"
    if all(found.listed for found in other):
        versions = ", ".join(sorted({found.kept.torch for found in other if found.kept}))
        return (
            f"The code of {function} is the same and its numbers are not ({examples}). The canary was "
            f"made with torch {versions}, this is {torch.__version__}; else a module that is not "
            f"hashed decides numbers. Find out which; `{command} --renew` keeps the new digits."
        )
    stale = Counter(
        record.labels.get("profile", "")
        for record in store.records(experiment.NAME)
        for found in other
        if Kind.of(record.spec) == found.kind and record.code != found.code
    )
    return (
        f"The code of {function} has changed, and its numbers with it ({examples}). If that is not "
        f"meant, undo it; if it is: `{command} --renew`{again(experiment, stale)}."
    )


def again(experiment: ModuleType, stale: Mapping[str, int]) -> str:
    """How the stale records of an experiment, counted by profile, are made again: the end of a sentence."""
    number = experiment.NAME.split("_")[0]
    rerun = ", ".join(
        f"`python -m adatune_lite run {number} --profile {profile}` ({count} stale records)"
        for profile, count in sorted(stale.items())
    )
    return f", then rerun {rerun}" if rerun else "; no record depends on it"


def _what(function: str, left: Sequence[Finding]) -> str:
    changed = [found for found in left if found.kept and not found.listed]
    if changed:
        return f"The canary of {function} is equal under changed code"
    if any(found.provisional for found in left):
        return f"The code of {function} was accepted by small runs alone"
    if not any(found.kept for found in left):
        return f"{function} has no canary yet of {', '.join(str(found.kind) for found in left)}"
    return f"The canary of {function} has {sum(len(found.new) for found in left)} new runs"


def _then(left: Sequence[Finding]) -> str:
    if any(found.changed for found in left):
        return "compares a finished desk run under both codes, too; if that is equal, records stay fresh"
    return "keeps them"
