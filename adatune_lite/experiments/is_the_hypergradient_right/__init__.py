"""Experiment 02: is the hypergradient right, what do AdaTune's deviations cost, and how far does H see?

Four questions. (a) Relative error of every method and optimizer against finite differences through time, in
float64 along 20 steps. (b) The same for AdaTune's recursion with each deviation alone, and what each costs in
the learned schedule and the final test loss of MNIST training: SGD with momentum 0.9 and Adam with eps 1e-4
(AdaTune's), weight decay 5e-4, mu = 0.99, clipping at 100. (c) Whether the Hessian-vector product predicts
how the gradient changes over one real step. (d) The error of BatchNorm's running statistics in E.

hyper_lr is chosen by mean E on tuning seeds, with the same number of draws for the exact recursion, for all
deviations together and for a constant rate, then frozen; single deviations have that of the exact recursion.
"""

from adatune_lite.experiments.is_the_hypergradient_right.reading import NAME, Results
from adatune_lite.experiments.is_the_hypergradient_right.scale import PROFILES

__all__ = ["NAME", "PROFILES", "TITLE", "plan", "results"]

TITLE = "Is the hypergradient right?"
results, plan = Results, Results.plan
