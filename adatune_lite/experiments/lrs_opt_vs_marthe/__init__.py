"""Experiment 01: LRS-OPT against MARTHE, RTHO, HD and tuned schedules on MNIST (MARTHE, figures 1 and 2).

7,000 MNIST images, 700 for validation, a network with two hidden layers of 500 units, batches of 100, SGD,
T = 512 steps, E = loss on the 700 images after step T (arXiv 1910.08525; what it leaves open is decided in
the chapter). The rates of online methods and of LRS-OPT start at 0.01.

Settings are chosen by mean E on the tuning seeds, with the same number of random draws for every method, then
frozen and reported on other seeds.
"""

from adatune_lite.experiments.lrs_opt_vs_marthe.reading import NAME, Results
from adatune_lite.experiments.lrs_opt_vs_marthe.scale import PROFILES

__all__ = ["NAME", "PROFILES", "TITLE", "plan", "results"]

TITLE = "LRS-OPT against online schedules on MNIST"
results, plan = Results, Results.plan
