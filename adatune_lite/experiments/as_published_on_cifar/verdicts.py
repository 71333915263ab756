"""The test of the claim about AdaTune's outer gradient, as registered, on the records of experiment 09.

How its text is read where it leaves something open, decided before its runs were made: the test accuracy is
that of all test images after the last step, since the best test epoch is another ingredient; the held-out
part is the 5,000 validation images, 10 % of the published training set; both sides train on the same images
from the same weights, and differ in nothing but the images of the outer gradient. A diverged run counts as
guessing.
"""

from __future__ import annotations

from adatune_lite.claims import kinds
from adatune_lite.experiments.as_published_on_cifar.reading import last

kinds.difference(
    "adatune.code.test_as_validation",
    ("arm", "test"),
    ("arm", "clean"),
    last,
    what="Outer gradient on the test images minus on the validation images",
)
