"""The papers' claims and their verdicts from records: tests that were fixed before the runs were made.

`load` reads the claims, `judge` and the kinds of test in `kinds` register the test of one in an experiment's
module `verdicts`, `verdicts` and `scorecard` give the outcomes. This room knows no experiment: it is given
them.
"""

from adatune_lite.claims import kinds
from adatune_lite.claims.catalog import Claim, ClaimError, claim_of, load
from adatune_lite.claims.scorecard import counts, scorecard, table_markdown, verdicts
from adatune_lite.claims.verdict import ALPHA, Finding, Verdict, judge, meets_printed

__all__ = [
    "ALPHA",
    "Claim",
    "ClaimError",
    "Finding",
    "Verdict",
    "claim_of",
    "counts",
    "judge",
    "kinds",
    "load",
    "meets_printed",
    "scorecard",
    "table_markdown",
    "verdicts",
]
