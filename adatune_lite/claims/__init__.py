"""The papers' claims and their verdicts from records: tests that were fixed before the runs were made.

`load` reads the claims, `judge` registers the test of one in an experiment's module `verdicts`, `verdicts`
and `scorecard` give the outcomes. No experiment is imported before it is asked for.
"""

from adatune_lite.claims.catalog import Claim, ClaimError, load
from adatune_lite.claims.scorecard import counts, scorecard, table_markdown, verdicts
from adatune_lite.claims.verdict import ALPHA, Finding, Verdict, absolute, judge

__all__ = [
    "ALPHA",
    "Claim",
    "ClaimError",
    "Finding",
    "Verdict",
    "absolute",
    "counts",
    "judge",
    "load",
    "scorecard",
    "table_markdown",
    "verdicts",
]
