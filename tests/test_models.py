"""Networks by name: sizes, initial weights as functions of the seed alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adatune_lite.tasks.models import build


@pytest.mark.parametrize(
    ("hidden", "weights"), [((500, 500), 648_010), ((500, 500, 500), 898_510), ((100, 100), 89_610)]
)
def test_mlp_has_the_papers_number_of_weights(hidden: tuple[int, ...], weights: int) -> None:
    net = build("mlp", hidden=hidden)
    assert sum(p.numel() for p in net.parameters()) == weights
    assert net(torch.zeros(3, 784)).shape == (3, 10)


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


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="model must be one of mlp"):
        build("transformer")
    with pytest.raises(ValueError, match="activation must be one of relu, tanh"):
        build("mlp", activation="swish")
