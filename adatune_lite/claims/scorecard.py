"""All claims with their verdicts, and the verdicts as a table of the book."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from adatune_lite.claims.catalog import Claim, ClaimError, claim_of, load
from adatune_lite.claims.verdict import COMMITTED, NOT_JUDGED, OUTCOMES, Judge, Verdict, best, judges_of
from adatune_lite.runs import store as stores


def verdicts(results: Any) -> list[Verdict]:
    """The verdicts of an experiment's claims from its results of one profile, in the order of the claims.

    Raises ClaimError if the claims cannot be read.
    """
    judges = judges_of(results.experiment)
    return [judges[claim.id](claim, results) for claim in _judged(load(), judges)]


def scorecard(
    experiments: Iterable[ModuleType], profile: str | None = None, *, all_claims: bool = True
) -> list[Verdict]:
    """Every claim with its verdict, those that none of the experiments judges among them.

    profile: judge the records of this profile; by default of the best committed one with enough seeds.
    all_claims: False for those alone that these experiments judge.

    Raises ClaimError for a profile that an experiment does not have.
    """
    claims = load()
    judged: dict[str, Verdict] = {}
    for module in experiments:
        judges = judges_of(module)
        present = [_results(module, name) for name in ([profile] if profile else COMMITTED)]
        for claim in _judged(claims, judges):
            judged[claim.id] = best([judges[claim.id](claim, results) for results in present])
    if not all_claims:
        return [judged[claim.id] for claim in claims if claim.id in judged]
    return [judged.get(claim.id) or _waiting(claim) for claim in claims]


def one(experiments: Iterable[ModuleType], claim_id: str, profile: str | None = None) -> tuple[Verdict, str]:
    """The verdict of one claim and the place of its judge, empty without one; otherwise as `scorecard`.

    Raises ClaimError for an id that no claim has.
    """
    claim = claim_of(claim_id)
    for module in experiments:
        if judge := judges_of(module).get(claim_id):
            present = [_results(module, name) for name in ([profile] if profile else COMMITTED)]
            return best([judge(claim, results) for results in present]), judge.place
    return _waiting(claim), ""


def _waiting(claim: Claim) -> Verdict:
    return Verdict(claim, NOT_JUDGED, why="No experiment of this project judges it yet.")


def _results(module: ModuleType, profile: str) -> Any:
    if profile not in module.PROFILES:
        raise ClaimError(
            f"unknown profile {profile!r} of {module.NAME}; allowed: {', '.join(module.PROFILES)}"
        )
    return module.results(profile, stores.stores_for(profile))


def _judged(claims: Sequence[Claim], judges: dict[str, Judge]) -> list[Claim]:
    unknown = judges.keys() - {claim.id for claim in claims}
    if unknown:
        raise ClaimError(f"there is a judge for {sorted(unknown)[0]!r}, which is no claim of the file")
    return [claim for claim in claims if claim.id in judges]


def counts(given: Sequence[Verdict]) -> str:
    """How many claims have which outcome, in words."""
    held = Counter(verdict.outcome for verdict in given)
    parts = [f"{held[outcome]} {outcome}" for outcome in OUTCOMES if held[outcome]]
    return f"{len(given)} claims: {', '.join(parts)}"


def table_markdown(given: Sequence[Verdict]) -> str:
    """The verdicts as a Markdown table: claim, its words, the test in numbers, outcome and scale."""
    if not given:
        return "*No claims are judged here.*"
    lines = ["| claim | in words | the test, in numbers | outcome |", "|---|---|---|---|"]
    for verdict in given:
        claim = verdict.claim
        words = claim.statement + (" (Expected from the definitions; not printed.)" if claim.expected else "")
        kind = verdict.outcome.replace(" ", "-")
        outcome = f'<span class="verdict {kind}">{verdict.outcome}</span>'
        scale = f" {verdict.scale}, {verdict.seeds} seeds" if verdict.profile else ""
        lines.append(f"| `{claim.id}` | {_plain(words)} | {_plain(verdict.why)} | {outcome}{scale} |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text that Markdown, HTML and mathematics leave as it is, within a cell of a table."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    for sign in r"\|$*_`":
        escaped = escaped.replace(sign, "\\" + sign)
    return escaped
