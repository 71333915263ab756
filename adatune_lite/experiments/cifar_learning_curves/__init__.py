"""Experiment 07: learning curves on CIFAR (MARTHE's first version, two figures of three panels).

Accuracy, loss and rate over the training for the six published methods, on VGG-11, CIFAR-10, SGD with
momentum and on ResNet-18, CIFAR-100, Adam, with the published curves underneath on the same relative axis.
Exponential, staircase and SGDR as published, stretched to the horizon. HD is Baydin's, with the gradient of
the training loss, as there. The settings of HD, RTHO and MARTHE are what the searches of experiment 08 found,
whose horizon is shorter; MARTHE with adaptive mu, which the first version had, takes the hyper-rate that was
found with a fixed one. A searched exponential is a row of its own, with the decay an epoch that was found;
constant, one-cycle and cosine have searched rates. What may be chosen differs: their first rate, while the
published methods begin at the published one.

The desk profile is reduced: 10,000 training images, narrow networks, 20 and 15 of 200 epochs. At full size
five seeds are thousands of core-hours.
"""

from adatune_lite.experiments.cifar_learning_curves.groups import PROFILES
from adatune_lite.experiments.cifar_learning_curves.reading import NAME, Results

__all__ = ["NAME", "PROFILES", "TITLE", "plan", "results"]

TITLE = "Learning curves on CIFAR: hypergradient methods against schedules"
results, plan = Results, Results.plan
