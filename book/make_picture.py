"""Draw the README's picture from the committed records of experiment 01.

    python book/make_picture.py

Writes book/images/first_figure.png and prints the sentence that belongs beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from adatune_lite.experiments import find
from adatune_lite.experiments.lrs_opt_vs_marthe import plots, tables
from adatune_lite.notebook import best_profile
from adatune_lite.runs.store import stores_for

PICTURE = Path(__file__).resolve().parent / "images" / "first_figure.png"


def main() -> int:
    """Exit code 1 while there are no committed records."""
    import matplotlib as mpl

    mpl.use("Agg")
    profile = best_profile("01")
    results = find("01").results(profile or "desk", stores_for(profile or "desk"))
    if not results["report", "marthe"] or not results["report", "constant"]:
        print("make_picture: the reporting runs of experiment 01 are not there yet", file=sys.stderr)
        return 1
    PICTURE.parent.mkdir(exist_ok=True)
    plots.comparison(results).savefig(PICTURE, facecolor="white")
    print(tables.finding(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
