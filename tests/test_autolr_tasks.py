"""What AutoLR's experiments train: the settings of CIFAR-10, and superbatches of augmented images."""

from __future__ import annotations

import pytest
import torch

from adatune_lite.experiments import find
from adatune_lite.experiments.autolr_tasks import (
    CANARY_RESNET18,
    FASHION_CONV4,
    OPTIMIZERS,
    RESNET18,
    SMALL_RESNET18,
    base,
)
from adatune_lite.runs.record import Record
from adatune_lite.tasks.data import image_task
from adatune_lite.training.making import superbatches
from adatune_lite.training.spec import RunSpec


class Empty:
    """A store without records."""

    def get(self, spec: RunSpec) -> Record | None:
        return None


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_cifar_alone_has_weight_decay(optimizer: str) -> None:
    plain, decayed = base(optimizer, FASHION_CONV4), base(optimizer, RESNET18)
    assert plain == OPTIMIZERS[optimizer] and "weight_decay" not in dict(plain.options)
    assert dict(decayed.options) == {**dict(plain.options), "weight_decay": 5e-4}
    assert (decayed.optimizer, decayed.lr) == (plain.optimizer, plain.lr)
    assert base(optimizer, SMALL_RESNET18) == decayed


@pytest.mark.parametrize("experiment", ["03", "04", "05", "06"])
@pytest.mark.parametrize("profile", ["quick", "desk", "paper"])
def test_every_run_on_cifar_has_its_settings_and_no_other_run_has(experiment: str, profile: str) -> None:
    """FACTS 0.2: batch 128, momentum 0.9, weight decay 5e-4, crops and flips."""
    specs = [p.spec for p in find(experiment).plan(profile, Empty())]
    assert any(s.task.dataset == "cifar10" for s in specs) == (
        profile == "paper" or (profile == "desk" and experiment in ("03", "06"))
    )
    for spec in specs:
        cifar, options = spec.task.dataset == "cifar10", dict(spec.optimizer_settings)
        assert options.get("weight_decay") == (5e-4 if cifar else None)
        assert (spec.task.scaling, spec.task.augment) == (
            ("standard", "crop_flip") if cifar else ("unit", "none")
        )
        if cifar:
            assert spec.task.batch == 128 and options.get("momentum", 0.9) == 0.9


def test_the_outer_loss_on_augmented_images_is_a_function_of_the_superbatch() -> None:
    """Crops and flips of superbatch k are drawn from (seed, k), not from the random state."""
    task = image_task(CANARY_RESNET18)
    look = superbatches(task, 0, 2)
    first = list(look(3))
    torch.rand(5)
    task.batch(0, 4)
    fresh = superbatches(image_task(CANARY_RESNET18), 0, 2)(3)
    for (x, y), (again, label), (other, _) in zip(look(3), fresh, look(4), strict=True):
        assert torch.equal(x, again) and torch.equal(y, label) and not torch.equal(x, other)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, look(3), strict=True))
    plain = task.training()[0]
    cropped = [row for x, _ in first for row in x]
    assert not all(any(torch.equal(row, image) for image in plain) for row in cropped), "no crop was made"
