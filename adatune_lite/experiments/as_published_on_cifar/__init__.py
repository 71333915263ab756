"""Experiment 09: how much of MARTHE's published gain is the method, and how much the way it was measured?

AdaTune's script takes the gradient of the outer loss on the test images, in training mode, so that BatchNorm
takes up their statistics; it reports the best test accuracy of any epoch; and its recursion is not MARTHE's
in several places (FACTS 3.3). Here that protocol and a clean one stand side by side, paired by seed, and the
clean one again with one ingredient of the other at a time: the test images, the statistics, the code. The
best test epoch needs no run of its own: every run looks at all test images after each epoch, so that it is
another reading of the same records.

CIFAR-10, VGG-11, SGD with momentum, as the published figures; mu and the hyper-rate are fixed, within the
ranges that the paper's card prints, the same in all runs, and chosen by no accuracy: mu is the middle of its
range, the hyper-rate a power of ten below the middle, where the published code lets the rate fall below 0
and diverges within two epochs (seen on a seed that is not reported, and in runs of their own here). The
baseline is the published exponential decay, whose script chooses the best test epoch, too.

The desk profile has a fifth of the images, a quarter of the channels and 15 epochs. By measured epochs of 19
s (MARTHE) and 5.5 s (plain), and looks at 15,000 images of 4 s, its 30 runs take 2.6 core-hours; the three
at the middle add little if they diverge as early as that one.
"""

from adatune_lite.experiments.as_published_on_cifar.groups import PROFILES
from adatune_lite.experiments.as_published_on_cifar.reading import NAME, Results

__all__ = ["NAME", "PROFILES", "TITLE", "plan", "results"]

TITLE = "As published: how much of the gain is protocol, how much is method"
results, plan = Results, Results.plan
