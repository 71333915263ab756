"""Experiment 08: what a random search finds, and how soon (MARTHE, Figure 3).

HD, RTHO, MARTHE and the exponential schedule on VGG-11, CIFAR-10 and on ResNet-18, CIFAR-100: independent
searches of random draws with early stopping, the test accuracy of the best validation accuracy so far
against time, in seconds and in plain steps; how much the hyper-parameters matter, and how often a draw
diverges. Three schedules with a searched rate stand beside them.

The desk profile is reduced: 10,000 training images, narrow networks, 10 epochs with a patience of 2 in place
of 10, and so few draws that a search takes minutes, not 36 hours. The paper does not say how many searches
and draws it made; six of 20 at full size are thousands of core-hours.
"""

from adatune_lite.experiments.random_search.reading import NAME, PROFILES, Results

__all__ = ["NAME", "PROFILES", "TITLE", "plan", "results"]

TITLE = "Random search on CIFAR: which method finds a good model sooner"
results, plan = Results, Results.plan
