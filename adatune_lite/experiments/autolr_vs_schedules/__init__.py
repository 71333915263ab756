"""Experiment 06: AutoLR against fixed schedules (AutoLR, Tables 4, 7, 9, 12 to 14, Figures 4b, 8a, 10 to 20).

Six parts. (a) The paper's comparison at its own settings: a constant seed rate and AutoLR with SGD, momentum
and Adam (on CIFAR-10 the paper's staircase is the baseline of SGD and momentum). What it lacks: (b) equal
tuning, the same random draws of the rate for every schedule and for AutoLR, chosen by mean validation loss on
tuning seeds and reported on others, with momentum; (c) AutoLR with each safeguard off alone, and with several
seed rates (Table 12); (d) the paper's baseline given the steps that AutoLR's fits cost in explore; (e) the
range test of appendix E (Figure 8a), and one-cycle with the highest rate that it suggests: a tenth of the
rate at the lowest loss, the default, against larger fractions of it, the best chosen as in (b); (f) each
decision that the paper leaves open taken otherwise, alone.

The `paper` profile, on CIFAR-10, also has the schedules of Table 9 at their printed rates, so that what that
table prints can be judged. The others have not: on other data and a narrow network those rates mean nothing,
and (b) compares the same schedules.

The desk profile has 10,000 images, 10 epochs and superbatches of 4 mini-batches, as experiment 05 has. Of
CIFAR-10 it has the cells of Table 4, and a range test, on a ResNet-18 with an eighth of the channels: 7
epochs in place of 200, 10,000 images in place of 50,000. A pilot took 0.22 s a step on a busy core, so that
thirty-five runs of 546 steps, with AutoLR's looks, cost about 1.6 core-hours; one of the 4-layer network
takes 0.1 s by the records of 03, the 45 runs of (f) on it 0.5 core-hours by the first ones of (a). What all
runs took is on the page, from their records.

ReduceLROnPlateau first ran with torch's patience of 10 looks, one an epoch, which is the whole desk training:
it never acted. It now forgives a twentieth of the training, 10 looks in the paper's 200 epochs and 1 at the
desk. That was changed after the first desk runs were seen, for this method alone; no claim is about it.
"""

from adatune_lite.experiments.autolr_vs_schedules.reading import NAME, Results
from adatune_lite.experiments.autolr_vs_schedules.scale import PROFILES

__all__ = ["NAME", "PROFILES", "TITLE", "plan", "results"]

TITLE = "AutoLR against fixed schedules"
results, plan = Results, Results.plan
