"""Networks by name: sizes, initial weights as functions of the seed alone."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from adatune_lite.tasks.models import MODELS, build, decides, options_of
from adatune_lite.tasks.networks import blocks
from adatune_lite.tasks.networks.resnet import BasicBlock
from adatune_lite.tasks.spec import SpecError, TaskSpec


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
        ("vgg13", 3, 10, 9_416_010),
        ("vgg16", 3, 10, 14_728_266),
        ("vgg19", 3, 10, 20_040_522),
        ("resnet18", 3, 10, 11_173_962),
        ("resnet18", 3, 100, 11_220_132),
        ("resnet34", 3, 10, 21_282_122),
        ("resnet50", 3, 10, 23_520_842),
        ("wide_resnet", 3, 10, 36_479_194),
        ("densenet_bc", 3, 10, 769_162),
    ],
)
def test_convolutional_networks_have_the_originals_number_of_weights(
    name: str, channels: int, classes: int, weights: int
) -> None:
    with torch.device("meta"):
        net = build(name, classes=classes, channels=channels)
    assert sum(p.numel() for p in net.parameters()) == weights


FAMILIES = ("conv4", "lenet5", "vgg11", "resnet18", "resnet50", "wide_resnet", "densenet_bc")
INITIAL = [name for name in MODELS if "initial" in options_of(name)]


@pytest.mark.parametrize("name", FAMILIES)
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


@pytest.mark.parametrize("name", FAMILIES)
def test_width_scales_every_channel_and_every_weight_learns(name: str) -> None:
    """A quarter of the channels has about a sixteenth of the weights (the first and last layer a quarter)."""
    with torch.device("meta"):
        counts = [sum(p.numel() for p in build(name, width=width).parameters()) for width in (0.25, 1.0)]
    assert 1 / 16 <= counts[0] / counts[1] < 1 / 12
    net = build(name, seed=0, channels=1, width=0.125)
    torch.manual_seed(0)
    net(torch.randn(4, 1, 28, 28)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with pytest.raises(ValueError, match="width must be finite and above 0"):
        build(name, width=0.0)
    with pytest.raises(ValueError, match=r"width 0.001 leaves a layer of \d+ without channels"):
        build(name, width=0.001)


def started(net: nn.Module, initial: str) -> bool:
    """Whether the weights of every convolution are distributed so: uniform in a bound, or normal."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            patch, size = m.kernel_size[0] ** 2, m.weight.numel()
            largest, deviation = float(m.weight.detach().abs().max()), float(m.weight.detach().std())
            fan_in, fan_out = patch * m.in_channels, patch * m.out_channels
            if initial == "he":
                expected = math.sqrt(2 / fan_out)
                if abs(deviation / expected - 1) > 4 / math.sqrt(2 * size) or largest < 2 * expected:
                    return False
            else:
                bound = math.sqrt(1 / fan_in if initial == "torch" else 12 / (fan_in + fan_out))
                if not bound * (1 - 12 / size) < largest <= bound * (1 + 1e-6):
                    return False
    return True


@pytest.mark.parametrize("name", INITIAL)
def test_weights_begin_as_asked(name: str) -> None:
    """AdaTune's Xavier uniform with gain sqrt(2) for VGG, torch's own for ResNet, He's for the others."""
    own = {"vgg": "xavier", "res": "torch"}.get(name[:3], "he")
    for initial in ("", *blocks.INITIAL):
        options = {"initial": initial} if initial else {}
        net = build(name, seed=0, width=0.25, **options)
        assert [kind for kind in blocks.INITIAL if started(net, kind)] == [initial or own]
    with pytest.raises(ValueError, match="initial must be one of torch, xavier, he, not 'zero'"):
        build(name, width=0.25, initial="zero")


def test_a_task_says_how_weights_begin() -> None:
    """In one way alone: what a network does anyway is no setting."""
    task = partial(TaskSpec, "cifar10", 100, 10, 10, batch=10)
    assert (
        task(model="resnet18").initial == "" and task(model="resnet18", initial="xavier").initial == "xavier"
    )
    with pytest.raises(SpecError, match="initial must be one of torch, xavier, he, not 'zero'"):
        task(model="resnet18", initial="zero")
    for model in ("mlp", "conv4"):
        with pytest.raises(SpecError, match=f"initial is no setting of the network '{model}'"):
            task(model=model, initial="he")
    with pytest.raises(SpecError, match="'vgg11' begins with initial 'xavier' in any case: leave it out"):
        task(model="vgg11", initial="xavier")


def test_records_hang_on_the_order_of_draws() -> None:
    """VGG-11 from the first layer to the last, of ResNet-18 the stem after the blocks."""
    torch.manual_seed(1)
    drawn = [nn.Conv2d(4, 4, 3, padding=1, bias=False).weight for _ in range(4)]
    weights = list(build("resnet18", seed=1, width=1 / 16).parameters())
    assert torch.equal(weights[3], drawn[0]) and torch.equal(weights[12], drawn[3])
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3)]
    nn.init.xavier_uniform_(layers[0].weight, math.sqrt(2))
    layers.append(nn.Conv2d(4, 8, 3))
    nn.init.xavier_uniform_(layers[1].weight, math.sqrt(2))
    weights = list(build("vgg11", seed=1, width=1 / 16).parameters())
    for layer, place in zip(layers, (0, 4), strict=True):
        assert torch.equal(weights[place], layer.weight) and torch.equal(weights[place + 1], layer.bias)


def torchvisions(name: str) -> nn.Module:
    """torchvision's definition with a stem and a head for images of 32 pixels."""
    from torchvision import models

    if name.startswith("vgg"):
        kind = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}[name]
        layers = models.vgg.make_layers(models.vgg.cfgs[kind], batch_norm=True)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
    if name == "densenet_bc":
        net = models.DenseNet(12, (16, 16, 16), 24, num_classes=10)
        net.features.conv0 = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        net.features.norm0 = net.features.relu0 = net.features.pool0 = nn.Identity()
        return net
    net = getattr(models, name)(weights=None, num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return net


@pytest.mark.parametrize(
    "name", ["vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "densenet_bc"]
)
def test_a_second_library_has_the_same_network(name: str) -> None:
    """The same weights give the same scores, in the statistics of the batch and in the running ones."""
    pytest.importorskip("torchvision")
    ours, theirs = build(name, seed=0), torchvisions(name)
    same = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(a.shape == b.shape for a, b in same)
    with torch.no_grad():
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            b.copy_(a)
        x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)


def test_wide_resnet_is_the_papers() -> None:
    """Written out: the activation before the convolutions, and before the shortcut where that has one."""
    net = build("wide_resnet", seed=0, width=0.1).double()
    weights = iter(net.parameters())

    def active(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(x, None, None, next(weights), next(weights), training=True).relu()

    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    h = nn.functional.conv2d(x, next(weights), padding=1)
    for stage in range(3):
        for place in range(4):
            a = active(h)
            stride = 2 if stage and not place else 1
            inner = nn.functional.conv2d(a, next(weights), stride=stride, padding=1)
            inner = nn.functional.conv2d(active(inner), next(weights), padding=1)
            h = inner + (h if place else nn.functional.conv2d(a, next(weights), stride=stride))
    scores = nn.functional.linear(active(h).mean((2, 3)), next(weights), next(weights))
    torch.testing.assert_close(net(x), scores, rtol=1e-10, atol=1e-10)
    assert next(weights, None) is None


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


def test_resnet50_of_imagenet_is_torchvisions() -> None:
    pytest.importorskip("torchvision")
    with torch.device("meta"):
        net = build("resnet50_imagenet")
    assert sum(p.numel() for p in net.parameters()) == 25_557_032
    with pytest.raises(ValueError, match="resnet50_imagenet has 3 channels and width 1, not 1 channels"):
        build("resnet50_imagenet", channels=1, width=0.5)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="model must be one of mlp"):
        build("transformer")
    with pytest.raises(ValueError, match="conv4 has no option 'initial'; it has classes, channels, width"):
        build("conv4", initial="he")
    with pytest.raises(ValueError, match="activation must be one of relu, tanh"):
        build("mlp", activation="swish")


@pytest.mark.parametrize("name", MODELS)
def test_a_family_decides_its_own_runs_alone(name: str) -> None:
    """The file of its definition, and what families share; a new family leaves the records of others."""
    family = {"res": "resnet", "vgg": "vgg", "den": "densenet", "len": "lenet"}.get(name[:3], name)
    file = "imagenet" if name == "resnet50_imagenet" else family
    shared = (
        ("tasks/mlp.py",)
        if name.startswith("mlp")
        else (f"tasks/networks/{file}.py", "tasks/networks/blocks.py")
    )
    assert decides(name) == shared
