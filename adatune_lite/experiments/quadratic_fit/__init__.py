"""Experiment 03: is the loss a parabola along the optimizer's step? (AutoLR, Figures 1, 5, 6, Appendix A)

The paper shows examples. Here the loss is measured on a grid along steps of whole trainings at a constant
rate, each on a superbatch of its own: held-out R^2, error at the predicted minimum and radius of validity,
against step, rate, optimizer and network.

The desk profile is smaller than the paper's: 10,000 images, 5 epochs, superbatches of 3 mini-batches in place
of 100; the rate is varied and the data set changed on few seeds. Network, data set and superbatch are shrunk
because every probe costs 21 losses on its superbatch.

CIFAR-10 on a ResNet-18 with an eighth of the channels, the task of Figure 5, was added when the results on
the other tasks were known, first one seed of each optimizer, then four more: a run takes more than 10
minutes. What all took is on the page, from their records.
"""

from adatune_lite.experiments.quadratic_fit.groups import PROFILES
from adatune_lite.experiments.quadratic_fit.reading import NAME, Results

__all__ = ["NAME", "PROFILES", "TITLE", "plan", "results"]

TITLE = "Is the loss a parabola along the step?"
results, plan = Results, Results.plan
