"""Networks by name: sizes, initial weights as functions of the seed alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from adatune_lite.tasks.models import build
from adatune_lite.tasks.networks import BasicBlock


@pytest.mark.parametrize(
    ("hidden", "weights"), [((500, 500), 648_010), ((500, 500, 500), 898_510), ((100, 100), 89_610)]
)
def test_mlp_has_the_papers_number_of_weights(hidden: tuple[int, ...], weights: int) -> None:
    net = build("mlp", hidden=hidden)
    assert sum(p.numel() for p in net.parameters()) == weights
    assert net(torch.zeros(3, 784)).shape == (3, 10)


@pytest.mark.parametrize(
    ("name", "channels", "classes", "weights"),
    [
        ("conv4", 1, 10, 431_080),
        ("lenet5", 1, 10, 61_706),
        ("lenet5", 3, 10, 62_006),
        ("vgg11", 3, 10, 9_231_114),
        ("vgg11", 3, 100, 9_277_284),
        ("resnet18", 3, 10, 11_173_962),
        ("resnet18", 3, 100, 11_220_132),
    ],
)
def test_convolutional_networks_have_the_originals_number_of_weights(
    name: str, channels: int, classes: int, weights: int
) -> None:
    net = build(name, classes=classes, channels=channels)
    assert sum(p.numel() for p in net.parameters()) == weights


IMAGES = ("conv4", "lenet5", "vgg11", "resnet18")


@pytest.mark.parametrize("name", IMAGES)
def test_images_come_flat_or_not_and_small_ones_are_padded(name: str) -> None:
    net = build(name, seed=0, classes=7, channels=1, width=0.125).eval()
    x = torch.rand(3, 1, 28, 28)
    scores = net(x)
    assert scores.shape == (3, 7)
    assert torch.equal(net(x.flatten(1)), scores)
    if name != "conv4":
        assert torch.equal(net(nn.functional.pad(x, (2, 2, 2, 2))), scores)
    for bad in (torch.rand(3, 3, 28, 28), torch.rand(3, 1, 33, 33), torch.rand(3, 783), torch.rand(3)):
        with pytest.raises(ValueError, match="takes images of 1 channels, at most"):
            net(bad)


@pytest.mark.parametrize("name", IMAGES)
def test_width_scales_every_channel_and_every_weight_learns(name: str) -> None:
    """A quarter of the channels has about a sixteenth of the weights (the first and last layer a quarter)."""
    counts = [sum(p.numel() for p in build(name, width=width).parameters()) for width in (0.25, 1.0)]
    assert 1 / 16 <= counts[0] / counts[1] < 1 / 12
    net = build(name, seed=0, channels=1, width=0.125)
    torch.manual_seed(0)
    net(torch.randn(4, 1, 28, 28)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with pytest.raises(ValueError, match="width must be finite and above 0"):
        build(name, width=0.0)


def test_vgg11_starts_as_adatune_does() -> None:
    """Xavier uniform with gain sqrt(2): a bound of sqrt(2) sqrt(6 / (fan_in + fan_out))."""
    net = build("vgg11", seed=0)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            bound = math.sqrt(12 / (9 * (m.in_channels + m.out_channels)))
            assert 0.95 * bound < float(m.weight.detach().abs().max()) <= bound * (1 + 1e-6)


def test_resnet18_is_residual() -> None:
    """With the last BatchNorm of every block at zero, blocks of stride 1 are the identity after a ReLU."""
    net = build("resnet18", seed=0, width=0.125).eval()
    block = next(m for m in net.children() if isinstance(m, BasicBlock))
    (*_, last) = block.residual
    assert isinstance(last, nn.BatchNorm2d)
    nn.init.zeros_(last.weight)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("tanh", nn.Tanh)])
def test_activation(activation: str, kind: type[nn.Module]) -> None:
    net = build("mlp", features=4, hidden=(3,), classes=2, activation=activation)
    assert [type(m) for m in net.children()] == [nn.Linear, kind, nn.Linear]


def test_seed_decides_the_weights_and_spares_the_global_state() -> None:
    def flat(seed: int | None) -> torch.Tensor:
        net = build("mlp", seed=seed, features=4, hidden=(3,))
        return torch.cat([p.detach().view(-1) for p in net.parameters()])

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = flat(7)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(flat(7), first)
    assert not torch.equal(flat(8), first)
    assert not torch.equal(flat(None), flat(None))


def test_resnet50_is_torchvisions() -> None:
    pytest.importorskip("torchvision")
    net = build("resnet50")
    assert sum(p.numel() for p in net.parameters()) == 25_557_032
    with pytest.raises(ValueError, match="resnet50 has 3 channels and width 1, not 1 channels"):
        build("resnet50", channels=1, width=0.5)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="model must be one of mlp"):
        build("transformer")
    with pytest.raises(ValueError, match="activation must be one of relu, tanh"):
        build("mlp", activation="swish")
