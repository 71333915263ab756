"""Experiment 04: how large must AutoLR's superbatch be? (AutoLR, Figure 7, Appendices B and C)

The paper shows how the loss's spread falls with the size of the superbatch, and says that 50 mini-batches and
3 samples would do in place of 100 and 5. Here the decisions are compared: at steps of trainings at a constant
rate, moves from superbatches of 1 to 100 mini-batches and more, from 5 samples and from 3, against the move
from all mini-batches that are measured; and the smallest superbatch that decides alike, with its cost.

The desk profile has one optimizer on the 4-layer network and a dense one for all three, 400 steps, 5 probes.
The paper profile has all three on ResNet-18 (CIFAR-10) and on the 4-layer network, 20 epochs, 20 probes. A
probe costs five losses on every mini-batch measured. What the runs took is on the page, from their records.
"""

from adatune_lite.experiments.superbatch.groups import PROFILES, overhead
from adatune_lite.experiments.superbatch.reading import NAME, Results

__all__ = ["NAME", "PROFILES", "TITLE", "overhead", "plan", "results"]

TITLE = "How large must the superbatch be?"
results, plan = Results, Results.plan
