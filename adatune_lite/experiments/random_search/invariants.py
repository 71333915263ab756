"""What must hold in the records of experiment 08, whatever the profile: `check` raises where it does not."""

from __future__ import annotations

import numpy as np

from adatune_lite.experiments.cifar_invariants import observed
from adatune_lite.experiments.invariants import refuse, wrong_records
from adatune_lite.experiments.random_search.reading import Results


def check(results: Results) -> int:
    """Check every record of the profile.

    Returns the number of records checked. Raises InvariantError with all that is wrong.
    """
    records = results.all_records()
    wrong = wrong_records(records, observed)
    for (task, method), found in results.every_course.items():
        for seed, course in found.items():
            for axis in (course.plain, course.seconds):
                if (np.diff(axis) < 0).any():
                    wrong.append(f"search {seed} of {method} on {task}: its time runs backwards")
    refuse(wrong)
    return len(records)
