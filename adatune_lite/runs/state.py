"""The state of every run, from records, as Markdown for the book: what ran where, when, how long, on what."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from adatune_lite.runs.durations import Durations
from adatune_lite.runs.freshness import WithStale
from adatune_lite.runs.progress import duration
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import SMALL, Problem, Store, is_stale, stores_for
from adatune_lite.runs.worker import Planned

ROLE_HEAD = ("for", "runs", "done", "diverged", "stale", "missing", "core-hours", "longest run", "made")
PLACE_HEAD = ("machine", "torch", "data", "commit", "runs", "core-hours", "made")
TIMES_HEAD = ("experiment", "profile", "runs", "one core", "of that made", "longest run", "memory of a run")

StoreFor = Callable[[str], Store]


@dataclass(frozen=True)
class Profile:
    """The runs of one experiment in one profile, and the records that are there; stale ones count."""

    experiment: str
    title: str
    name: str
    planned: Sequence[Planned]
    """Known so far, each spec once."""
    records: dict[str, Record]
    """By the hash of the spec."""
    durations: Durations

    def of(self, role: str) -> list[Record]:
        """The records of the runs of one role."""
        hashes = (run.spec.hash for run in self.planned if run.role == role)
        return [self.records[h] for h in hashes if h in self.records]

    @property
    def missing(self) -> list[Planned]:
        """Runs without a record, not even a stale one."""
        return [run for run in self.planned if run.spec.hash not in self.records]


def read(experiments: Iterable[ModuleType], store_for: StoreFor = stores_for) -> list[Profile]:
    """What is known of every profile of the experiments."""
    stores: dict[tuple[Path, ...], Store] = {}
    found = []
    for experiment in experiments:
        for profile in experiment.PROFILES:
            store = store_for(profile)
            # Profiles share records: those of a folder are read from the disk once.
            shown = WithStale(stores.setdefault(store.roots, store))
            plan = experiment.plan(profile, shown)
            planned = {run.spec.hash: run for run in plan}
            records = {h: record for h, run in planned.items() if (record := shown.get(run.spec))}
            durations = Durations(records.values())
            names = (experiment.NAME, getattr(experiment, "TITLE", experiment.NAME), profile)
            found.append(Profile(*names, list(planned.values()), records, durations))
    return found


def state_markdown(profiles: Iterable[Profile], unreadable: Sequence[Problem] = ()) -> str:
    """What is done, missing and stale by experiment, profile and role, and on what it was made.

    Profiles whose records are not kept under version control are left out. unreadable: files that count as
    not there.
    """
    parts = []
    for profile in profiles:
        if profile.name not in SMALL:
            title = f"## {profile.title}"
            parts += [*([] if title in parts else [title]), f"### {profile.name}", *_profile(profile)]
    parts = parts or ["There are no experiments yet."]
    if unreadable:
        names = ", ".join(f"`{problem.path.name}`" for problem in unreadable[:5])
        more = f" and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        what = f"{len(unreadable)} files of records cannot be read, count as missing and are left alone"
        parts.insert(0, f"**{what}**: {names}{more}; `python -m adatune_lite verify` says why.")
    return "\n\n".join(parts)


def _profile(profile: Profile) -> Iterator[str]:
    records = list(profile.records.values())
    yield _sentence(profile, records)
    roles = dict.fromkeys(run.role for run in profile.planned)
    yield _table(ROLE_HEAD, [_role(role, profile) for role in roles])
    if records:
        yield _table(PLACE_HEAD, list(_places(records)))


def _sentence(profile: Profile, records: Sequence[Record]) -> str:
    stale, missing = sum(map(is_stale, records)), len(profile.missing)
    marks = []
    if stale:
        marks.append(f'<span class="badge-profile stale">{stale} stale</span>')
    if missing:
        marks.append(f'<span class="badge-profile none">{missing} missing</span>')
    text = (
        f"{len(records):,} of the {len(profile.planned):,} runs known so far are done, "
        f"{sum(record.diverged for record in records)} of them diverged, in {_hours(records)} core-hours."
    )
    return " ".join((text, *marks))


def _role(role: str, profile: Profile) -> tuple[str, ...]:
    records = profile.of(role)
    runs = sum(run.role == role for run in profile.planned)
    counts = (
        *(runs, len(records), sum(record.diverged for record in records)),
        *(sum(map(is_stale, records)), runs - len(records)),
    )
    longest = duration(max(map(_seconds, records))) if records else ""
    return role, *map(str, counts), _hours(records) if records else "", longest, _when(records)


def _places(records: Sequence[Record]) -> Iterator[tuple[str, ...]]:
    places: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        facts = record.provenance
        commit = f"{str(facts.get('commit') or 'unknown')[:10]}{'+changes' if facts.get('dirty') else ''}"
        data = f"{facts.get('data_source', 'unknown')}{'' if facts.get('data_verified') else ', unverified'}"
        machine = f"{facts.get('device_name', 'unknown')} ({record.device}, {record.precision})"
        places[machine, str(facts.get("torch", "unknown")), data, commit].append(record)
    for place, held in sorted(places.items(), key=lambda entry: -len(entry[1])):
        yield *place, str(len(held)), _hours(held), _when(held)


def times_markdown(profiles: Iterable[Profile]) -> str:
    """Time and memory of each experiment and profile, from records and, for what is missing, their like."""
    return _table(TIMES_HEAD, [_times(profile) for profile in profiles])


def _times(profile: Profile) -> tuple[str, ...]:
    start = (profile.experiment, profile.name, f"{len(profile.planned):,}")
    records = list(profile.records.values())
    if not records:
        return *start, "not known before it is run", "", "", ""
    left = [profile.durations.estimate(run.spec) for run in profile.missing]
    known = [seconds for seconds in left if seconds is not None]
    made = sum(map(_seconds, records))
    total = f"{'at least ' if len(known) < len(left) else ''}{duration(made + sum(known))}"
    longest = max([*map(_seconds, records), *known])
    memory = ", ".join(f"{size / 1e9:.1f} GB ({device})" for device, size in sorted(_memory(records).items()))
    return *start, total, duration(made), duration(longest), memory


def _memory(records: Sequence[Record]) -> Counter[str]:
    largest: Counter[str] = Counter()
    for record in records:
        largest[record.device] = max(largest[record.device], int(record.provenance.get("peak_memory", 0)))
    return largest


def _seconds(record: Record) -> float:
    return record.cost.get("seconds", 0.0)


def _hours(records: Iterable[Record]) -> str:
    return f"{sum(map(_seconds, records)) / 3600:.2f}"


def _when(records: Sequence[Record]) -> str:
    starts = sorted(str(record.provenance.get("start", ""))[:16].replace("T", " ") for record in records)
    if not starts or starts[0] == starts[-1]:
        return "".join(starts[:1])
    same_day = starts[0][:10] == starts[-1][:10]
    return f"{starts[0]} to {starts[-1][11:] if same_day else starts[-1]}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
