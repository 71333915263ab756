"""Which operations of torch have an exact hypergradient: a table of arguments, and what came of each.

Every class of `torch.nn` and every function of `torch.nn.functional` is here: with arguments, or with the
reason why it has none. Each is held to differences by `al.hypergradcheck`, on weights that are its input and
on its own; what comes of it is "exact", "refused" by name, or "wrong", which must not be.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, its usual name
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import adatune_lite as al

STEPS = 3


@dataclass(frozen=True)
class Call:
    """One row: `made()` is called with the inputs, of these shapes, which are trained."""

    made: Callable[[], Callable[..., Any]]
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a row."""

    name: str
    result: str
    """ "exact", "refused" or "wrong"."""
    reason: str = ""
    """Why it is refused, or how it is wrong."""


def of(made: Callable[[], Callable[..., Any]], *shapes: tuple[int, ...]) -> Call:
    """A module, made anew for each training."""
    return Call(made, shapes)


def fn(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Call:
    return Call(lambda: function, shapes)


LINE, PLANE, SPACE = (2, 3, 6), (2, 4, 6, 6), (1, 3, 4, 4, 4)
ROW = (4, 3)
LABELS = torch.tensor([0, 2, 1, 2])
SIGNS = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
MANY = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]])
WORDS = torch.tensor([[0, 2, 1], [2, 2, 3]])
FIXED = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).reshape(4, 3)
SOFT = torch.softmax(FIXED, 1)


def _unpooled(module: Callable[..., Any], pool: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        found: Tensor = module(*pool(x, 2, return_indices=True))
        return found

    return call


def _ctc(loss: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    lengths = torch.tensor([6, 6]), torch.tensor([2, 2])
    return lambda x: loss(x.log_softmax(2), torch.tensor([[1, 2], [2, 1]]), *lengths)


def _positive(loss: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, v: loss(x, FIXED, v.exp())


def _attention(x: Tensor, project: Tensor) -> Tensor:
    found = F.multi_head_attention_forward(
        *(x, x, x, 4, 2, project, None, None, None, False, 0.0),
        torch.eye(4, dtype=torch.float64),
        None,
    )
    return found[0]


def _self_attention(module: nn.Module) -> Callable[[Tensor], Any]:
    return lambda x: module(x, x, x)


class _Wrapped(nn.Module):
    """A module whose call needs more than its inputs."""

    def __init__(self, inner: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.inner, self.call = inner, call

    def forward(self, *x: Tensor) -> Any:
        return self.call(self.inner, *x)


def with_call(made: Callable[[], nn.Module], call: Callable[..., Any], *shapes: tuple[int, ...]) -> Call:
    return Call(lambda: _Wrapped(made(), call), shapes)


MODULES: dict[str, Call] = {
    "AdaptiveAvgPool1d": of(lambda: nn.AdaptiveAvgPool1d(2), LINE),
    "AdaptiveAvgPool2d": of(lambda: nn.AdaptiveAvgPool2d(2), PLANE),
    "AdaptiveAvgPool3d": of(lambda: nn.AdaptiveAvgPool3d(2), SPACE),
    "AdaptiveLogSoftmaxWithLoss": with_call(
        lambda: nn.AdaptiveLogSoftmaxWithLoss(3, 5, [2]), lambda m, x: m(x, LABELS).loss, ROW
    ),
    "AdaptiveMaxPool1d": of(lambda: nn.AdaptiveMaxPool1d(2), LINE),
    "AdaptiveMaxPool2d": of(lambda: nn.AdaptiveMaxPool2d(2), PLANE),
    "AdaptiveMaxPool3d": of(lambda: nn.AdaptiveMaxPool3d(2), SPACE),
    "AlphaDropout": of(lambda: nn.AlphaDropout(0.3), ROW),
    "AvgPool1d": of(lambda: nn.AvgPool1d(2), LINE),
    "AvgPool2d": of(lambda: nn.AvgPool2d(2), PLANE),
    "AvgPool3d": of(lambda: nn.AvgPool3d(2), SPACE),
    "BCELoss": with_call(nn.BCELoss, lambda m, x: m(x.sigmoid(), SOFT), ROW),
    "BCEWithLogitsLoss": with_call(nn.BCEWithLogitsLoss, lambda m, x: m(x, SOFT), ROW),
    "BatchNorm1d": of(lambda: nn.BatchNorm1d(3), LINE),
    "BatchNorm2d": of(lambda: nn.BatchNorm2d(4), PLANE),
    "BatchNorm3d": of(lambda: nn.BatchNorm3d(3), SPACE),
    "Bilinear": of(lambda: nn.Bilinear(3, 3, 2), ROW, ROW),
    "CELU": of(nn.CELU, ROW),
    "CTCLoss": with_call(nn.CTCLoss, lambda m, x: _ctc(m)(x), (6, 2, 3)),
    "ChannelShuffle": of(lambda: nn.ChannelShuffle(2), PLANE),
    "CircularPad1d": of(lambda: nn.CircularPad1d(1), LINE),
    "CircularPad2d": of(lambda: nn.CircularPad2d(1), PLANE),
    "CircularPad3d": of(lambda: nn.CircularPad3d(1), SPACE),
    "ConstantPad1d": of(lambda: nn.ConstantPad1d(1, 0.5), LINE),
    "ConstantPad2d": of(lambda: nn.ConstantPad2d(1, 0.5), PLANE),
    "ConstantPad3d": of(lambda: nn.ConstantPad3d(1, 0.5), SPACE),
    "Conv1d": of(lambda: nn.Conv1d(3, 2, 3), LINE),
    "Conv2d": of(lambda: nn.Conv2d(4, 2, 3, stride=2, padding=1, groups=2), PLANE),
    "Conv3d": of(lambda: nn.Conv3d(3, 2, 2), SPACE),
    "ConvTranspose1d": of(lambda: nn.ConvTranspose1d(3, 2, 3), LINE),
    "ConvTranspose2d": of(lambda: nn.ConvTranspose2d(4, 2, 3), PLANE),
    "ConvTranspose3d": of(lambda: nn.ConvTranspose3d(3, 2, 2), SPACE),
    "CosineEmbeddingLoss": with_call(nn.CosineEmbeddingLoss, lambda m, x, y: m(x, y, SIGNS), ROW, ROW),
    "CosineSimilarity": of(nn.CosineSimilarity, ROW, ROW),
    "CrossEntropyLoss": with_call(nn.CrossEntropyLoss, lambda m, x: m(x, LABELS), ROW),
    "CrossMapLRN2d": of(lambda: nn.CrossMapLRN2d(2), PLANE),
    "Dropout": of(lambda: nn.Dropout(0.3), ROW),
    "Dropout1d": of(lambda: nn.Dropout1d(0.3), LINE),
    "Dropout2d": of(lambda: nn.Dropout2d(0.3), PLANE),
    "Dropout3d": of(lambda: nn.Dropout3d(0.3), SPACE),
    "ELU": of(nn.ELU, ROW),
    "Embedding": with_call(lambda: nn.Embedding(4, 3, max_norm=None), lambda m: m(WORDS)),
    "EmbeddingBag": with_call(lambda: nn.EmbeddingBag(4, 3), lambda m: m(WORDS)),
    "FeatureAlphaDropout": of(lambda: nn.FeatureAlphaDropout(0.3), PLANE),
    "Flatten": of(nn.Flatten, PLANE),
    "Fold": of(lambda: nn.Fold((3, 3), 2), (1, 8, 4)),
    "FractionalMaxPool2d": of(lambda: nn.FractionalMaxPool2d(2, output_size=3), PLANE),
    "FractionalMaxPool3d": of(lambda: nn.FractionalMaxPool3d(2, output_size=2), SPACE),
    "GELU": of(nn.GELU, ROW),
    "GLU": of(nn.GLU, (4, 6)),
    "GRU": of(lambda: nn.GRU(6, 2), LINE),
    "GRUCell": of(lambda: nn.GRUCell(3, 2), ROW),
    "GaussianNLLLoss": with_call(nn.GaussianNLLLoss, lambda m, x, v: _positive(m)(x, v), ROW, ROW),
    "GroupNorm": of(lambda: nn.GroupNorm(2, 4), PLANE),
    "Hardshrink": of(nn.Hardshrink, ROW),
    "Hardsigmoid": of(nn.Hardsigmoid, ROW),
    "Hardswish": of(nn.Hardswish, ROW),
    "Hardtanh": of(nn.Hardtanh, ROW),
    "HingeEmbeddingLoss": with_call(nn.HingeEmbeddingLoss, lambda m, x: m(x, SIGNS), (4,)),
    "HuberLoss": with_call(nn.HuberLoss, lambda m, x: m(x, FIXED), ROW),
    "Identity": of(nn.Identity, ROW),
    "InstanceNorm1d": of(lambda: nn.InstanceNorm1d(3, affine=True), LINE),
    "InstanceNorm2d": of(lambda: nn.InstanceNorm2d(4), PLANE),
    "InstanceNorm3d": of(lambda: nn.InstanceNorm3d(3), SPACE),
    "KLDivLoss": with_call(
        lambda: nn.KLDivLoss(reduction="batchmean"), lambda m, x: m(x.log_softmax(1), SOFT), ROW
    ),
    "L1Loss": with_call(nn.L1Loss, lambda m, x: m(x, FIXED), ROW),
    "LPPool1d": of(lambda: nn.LPPool1d(2, 2), LINE),
    "LPPool2d": of(lambda: nn.LPPool2d(2, 2), PLANE),
    "LPPool3d": of(lambda: nn.LPPool3d(2, 2), SPACE),
    "LSTM": of(lambda: nn.LSTM(6, 2), LINE),
    "LSTMCell": of(lambda: nn.LSTMCell(3, 2), ROW),
    "LayerNorm": of(lambda: nn.LayerNorm(3), ROW),
    "LazyBatchNorm1d": of(nn.LazyBatchNorm1d, LINE),
    "LazyBatchNorm2d": of(nn.LazyBatchNorm2d, PLANE),
    "LazyBatchNorm3d": of(nn.LazyBatchNorm3d, SPACE),
    "LazyConv1d": of(lambda: nn.LazyConv1d(2, 3), LINE),
    "LazyConv2d": of(lambda: nn.LazyConv2d(2, 3), PLANE),
    "LazyConv3d": of(lambda: nn.LazyConv3d(2, 2), SPACE),
    "LazyConvTranspose1d": of(lambda: nn.LazyConvTranspose1d(2, 3), LINE),
    "LazyConvTranspose2d": of(lambda: nn.LazyConvTranspose2d(2, 3), PLANE),
    "LazyConvTranspose3d": of(lambda: nn.LazyConvTranspose3d(2, 2), SPACE),
    "LazyInstanceNorm1d": of(nn.LazyInstanceNorm1d, LINE),
    "LazyInstanceNorm2d": of(nn.LazyInstanceNorm2d, PLANE),
    "LazyInstanceNorm3d": of(nn.LazyInstanceNorm3d, SPACE),
    "LazyLinear": of(lambda: nn.LazyLinear(2), ROW),
    "LeakyReLU": of(nn.LeakyReLU, ROW),
    "Linear": of(lambda: nn.Linear(3, 2), ROW),
    "LinearCrossEntropyLoss": with_call(
        lambda: nn.LinearCrossEntropyLoss(3, 3), lambda m, x: m(x, LABELS), ROW
    ),
    "LocalResponseNorm": of(lambda: nn.LocalResponseNorm(2), PLANE),
    "LogSigmoid": of(nn.LogSigmoid, ROW),
    "LogSoftmax": of(lambda: nn.LogSoftmax(1), ROW),
    "MSELoss": with_call(nn.MSELoss, lambda m, x: m(x, FIXED), ROW),
    "MarginRankingLoss": with_call(nn.MarginRankingLoss, lambda m, x, y: m(x, y, SIGNS), (4,), (4,)),
    "MaxPool1d": of(lambda: nn.MaxPool1d(2), LINE),
    "MaxPool2d": of(lambda: nn.MaxPool2d(2), PLANE),
    "MaxPool3d": of(lambda: nn.MaxPool3d(2), SPACE),
    "MaxUnpool1d": with_call(lambda: nn.MaxUnpool1d(2), lambda m, x: _unpooled(m, F.max_pool1d)(x), LINE),
    "MaxUnpool2d": with_call(lambda: nn.MaxUnpool2d(2), lambda m, x: _unpooled(m, F.max_pool2d)(x), PLANE),
    "MaxUnpool3d": with_call(lambda: nn.MaxUnpool3d(2), lambda m, x: _unpooled(m, F.max_pool3d)(x), SPACE),
    "Mish": of(nn.Mish, ROW),
    "MultiLabelMarginLoss": with_call(
        nn.MultiLabelMarginLoss, lambda m, x: m(x, torch.tensor([[0, 2, -1]] * 4)), ROW
    ),
    "MultiLabelSoftMarginLoss": with_call(
        nn.MultiLabelSoftMarginLoss, lambda m, x: m(x, MANY.to(x.dtype)), ROW
    ),
    "MultiMarginLoss": with_call(nn.MultiMarginLoss, lambda m, x: m(x, LABELS), ROW),
    "MultiheadAttention": with_call(
        lambda: nn.MultiheadAttention(4, 2), lambda m, x: _self_attention(m)(x), (3, 2, 4)
    ),
    "NLLLoss": with_call(nn.NLLLoss, lambda m, x: m(x.log_softmax(1), LABELS), ROW),
    "PReLU": of(nn.PReLU, ROW),
    "PairwiseDistance": of(nn.PairwiseDistance, ROW, ROW),
    "PixelShuffle": of(lambda: nn.PixelShuffle(2), PLANE),
    "PixelUnshuffle": of(lambda: nn.PixelUnshuffle(2), PLANE),
    "PoissonNLLLoss": with_call(nn.PoissonNLLLoss, lambda m, x: m(x, SOFT), ROW),
    "RMSNorm": of(lambda: nn.RMSNorm(3), ROW),
    "RNN": of(lambda: nn.RNN(6, 2), LINE),
    "RNNCell": of(lambda: nn.RNNCell(3, 2), ROW),
    "RReLU": of(nn.RReLU, ROW),
    "ReLU": of(nn.ReLU, ROW),
    "ReLU6": of(nn.ReLU6, ROW),
    "ReflectionPad1d": of(lambda: nn.ReflectionPad1d(1), LINE),
    "ReflectionPad2d": of(lambda: nn.ReflectionPad2d(1), PLANE),
    "ReflectionPad3d": of(lambda: nn.ReflectionPad3d(1), SPACE),
    "ReplicationPad1d": of(lambda: nn.ReplicationPad1d(1), LINE),
    "ReplicationPad2d": of(lambda: nn.ReplicationPad2d(1), PLANE),
    "ReplicationPad3d": of(lambda: nn.ReplicationPad3d(1), SPACE),
    "SELU": of(nn.SELU, ROW),
    "SiLU": of(nn.SiLU, ROW),
    "Sigmoid": of(nn.Sigmoid, ROW),
    "SmoothL1Loss": with_call(nn.SmoothL1Loss, lambda m, x: m(x, FIXED), ROW),
    "SoftMarginLoss": with_call(nn.SoftMarginLoss, lambda m, x: m(x, SIGNS), (4,)),
    "Softmax": of(lambda: nn.Softmax(1), ROW),
    "Softmax2d": of(nn.Softmax2d, PLANE),
    "Softmin": of(lambda: nn.Softmin(1), ROW),
    "Softplus": of(nn.Softplus, ROW),
    "Softshrink": of(nn.Softshrink, ROW),
    "Softsign": of(nn.Softsign, ROW),
    "SyncBatchNorm": of(lambda: nn.SyncBatchNorm(3), LINE),
    "Tanh": of(nn.Tanh, ROW),
    "Tanhshrink": of(nn.Tanhshrink, ROW),
    "Threshold": of(lambda: nn.Threshold(0.1, 0.0), ROW),
    "Transformer": with_call(lambda: nn.Transformer(4, 2, 1, 1, 4), lambda m, x: m(x, x), (3, 2, 4)),
    "TransformerDecoder": with_call(
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 4), 1),
        lambda m, x: m(x, x),
        (3, 2, 4),
    ),
    "TransformerDecoderLayer": with_call(
        lambda: nn.TransformerDecoderLayer(4, 2, 4), lambda m, x: m(x, x), (3, 2, 4)
    ),
    "TransformerEncoder": of(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 4), 1, enable_nested_tensor=False),
        (3, 2, 4),
    ),
    "TransformerEncoderLayer": of(lambda: nn.TransformerEncoderLayer(4, 2, 4), (3, 2, 4)),
    "TripletMarginLoss": of(nn.TripletMarginLoss, ROW, ROW, ROW),
    "TripletMarginWithDistanceLoss": of(nn.TripletMarginWithDistanceLoss, ROW, ROW, ROW),
    "Unflatten": of(lambda: nn.Unflatten(1, (1, 3)), ROW),
    "Unfold": of(lambda: nn.Unfold(2), PLANE),
    "Upsample": of(lambda: nn.Upsample(scale_factor=2, mode="bicubic"), PLANE),
    "UpsamplingBilinear2d": of(lambda: nn.UpsamplingBilinear2d(scale_factor=2), PLANE),
    "UpsamplingNearest2d": of(lambda: nn.UpsamplingNearest2d(scale_factor=2), PLANE),
    "ZeroPad1d": of(lambda: nn.ZeroPad1d(1), LINE),
    "ZeroPad2d": of(lambda: nn.ZeroPad2d(1), PLANE),
    "ZeroPad3d": of(lambda: nn.ZeroPad3d(1), SPACE),
}
"""Classes of `torch.nn`, in training mode."""

FUNCTIONS: dict[str, Call] = {
    "adaptive_avg_pool1d": fn(lambda x: F.adaptive_avg_pool1d(x, 2), LINE),
    "adaptive_avg_pool2d": fn(lambda x: F.adaptive_avg_pool2d(x, 2), PLANE),
    "adaptive_avg_pool3d": fn(lambda x: F.adaptive_avg_pool3d(x, 2), SPACE),
    "adaptive_max_pool1d": fn(lambda x: F.adaptive_max_pool1d(x, 2), LINE),
    "adaptive_max_pool1d_with_indices": fn(lambda x: F.adaptive_max_pool1d_with_indices(x, 2), LINE),
    "adaptive_max_pool2d": fn(lambda x: F.adaptive_max_pool2d(x, 2), PLANE),
    "adaptive_max_pool2d_with_indices": fn(lambda x: F.adaptive_max_pool2d_with_indices(x, 2), PLANE),
    "adaptive_max_pool3d": fn(lambda x: F.adaptive_max_pool3d(x, 2), SPACE),
    "adaptive_max_pool3d_with_indices": fn(lambda x: F.adaptive_max_pool3d_with_indices(x, 2), SPACE),
    "affine_grid": fn(lambda x: F.affine_grid(x, [1, 1, 3, 3], align_corners=False), (1, 2, 3)),
    "alpha_dropout": fn(lambda x: F.alpha_dropout(x, 0.3, training=True), ROW),
    "avg_pool1d": fn(lambda x: F.avg_pool1d(x, 2), LINE),
    "avg_pool2d": fn(lambda x: F.avg_pool2d(x, 2), PLANE),
    "avg_pool3d": fn(lambda x: F.avg_pool3d(x, 2), SPACE),
    "batch_norm": fn(lambda x: F.batch_norm(x, None, None, training=True), LINE),
    "bilinear": fn(F.bilinear, ROW, ROW, (2, 3, 3)),
    "binary_cross_entropy": fn(lambda x: F.binary_cross_entropy(x.sigmoid(), SOFT), ROW),
    "binary_cross_entropy_with_logits": fn(lambda x: F.binary_cross_entropy_with_logits(x, SOFT), ROW),
    "celu": fn(F.celu, ROW),
    "celu_": fn(lambda x: F.celu_(x + 0), ROW),
    "channel_shuffle": fn(lambda x: F.channel_shuffle(x, 2), PLANE),
    "conv1d": fn(F.conv1d, LINE, (2, 3, 3)),
    "conv2d": fn(F.conv2d, PLANE, (2, 4, 3, 3)),
    "conv3d": fn(F.conv3d, SPACE, (2, 3, 2, 2, 2)),
    "conv_tbc": fn(F.conv_tbc, (6, 2, 3), (3, 3, 2), (2,)),
    "conv_transpose1d": fn(F.conv_transpose1d, LINE, (3, 2, 3)),
    "conv_transpose2d": fn(F.conv_transpose2d, PLANE, (4, 2, 3, 3)),
    "conv_transpose3d": fn(F.conv_transpose3d, SPACE, (3, 2, 2, 2, 2)),
    "cosine_embedding_loss": fn(lambda x, y: F.cosine_embedding_loss(x, y, SIGNS), ROW, ROW),
    "cosine_similarity": fn(F.cosine_similarity, ROW, ROW),
    "cross_entropy": fn(lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.1), ROW),
    "ctc_loss": fn(_ctc(F.ctc_loss), (6, 2, 3)),
    "dropout": fn(lambda x: F.dropout(x, 0.3), ROW),
    "dropout1d": fn(lambda x: F.dropout1d(x, 0.3), LINE),
    "dropout2d": fn(lambda x: F.dropout2d(x, 0.3), PLANE),
    "dropout3d": fn(lambda x: F.dropout3d(x, 0.3), SPACE),
    "elu": fn(F.elu, ROW),
    "elu_": fn(lambda x: F.elu_(x + 0), ROW),
    "embedding": fn(lambda x: F.embedding(WORDS, x), (4, 3)),
    "embedding_bag": fn(lambda x: F.embedding_bag(WORDS, x), (4, 3)),
    "feature_alpha_dropout": fn(lambda x: F.feature_alpha_dropout(x, 0.3, training=True), PLANE),
    "fold": fn(lambda x: F.fold(x, (3, 3), 2), (1, 8, 4)),
    "fractional_max_pool2d": fn(lambda x: F.fractional_max_pool2d(x, 2, output_size=3), PLANE),
    "fractional_max_pool2d_with_indices": fn(
        lambda x: F.fractional_max_pool2d_with_indices(x, 2, output_size=3), PLANE
    ),
    "fractional_max_pool3d": fn(lambda x: F.fractional_max_pool3d(x, 2, output_size=2), SPACE),
    "fractional_max_pool3d_with_indices": fn(
        lambda x: F.fractional_max_pool3d_with_indices(x, 2, output_size=2), SPACE
    ),
    "gaussian_nll_loss": fn(_positive(F.gaussian_nll_loss), ROW, ROW),
    "gelu": fn(F.gelu, ROW),
    "glu": fn(F.glu, (4, 6)),
    "grid_sample": fn(
        lambda x, grid: F.grid_sample(x, grid.tanh(), align_corners=False), PLANE, (2, 3, 3, 2)
    ),
    "group_norm": fn(lambda x: F.group_norm(x, 2), PLANE),
    "gumbel_softmax": fn(F.gumbel_softmax, ROW),
    "hardshrink": fn(F.hardshrink, ROW),
    "hardsigmoid": fn(F.hardsigmoid, ROW),
    "hardswish": fn(F.hardswish, ROW),
    "hardtanh": fn(F.hardtanh, ROW),
    "hardtanh_": fn(lambda x: F.hardtanh_(x + 0), ROW),
    "hinge_embedding_loss": fn(lambda x: F.hinge_embedding_loss(x, SIGNS), (4,)),
    "huber_loss": fn(lambda x: F.huber_loss(x, FIXED), ROW),
    "instance_norm": fn(F.instance_norm, LINE),
    "interpolate": fn(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), PLANE),
    "kl_div": fn(lambda x: F.kl_div(x.log_softmax(1), SOFT, reduction="batchmean"), ROW),
    "l1_loss": fn(lambda x: F.l1_loss(x, FIXED), ROW),
    "layer_norm": fn(lambda x: F.layer_norm(x, (3,)), ROW),
    "leaky_relu": fn(F.leaky_relu, ROW),
    "leaky_relu_": fn(lambda x: F.leaky_relu_(x + 0), ROW),
    "linear": fn(F.linear, ROW, (2, 3)),
    "linear_cross_entropy": fn(lambda x, w: F.linear_cross_entropy(x, w, LABELS), ROW, (3, 3)),
    "local_response_norm": fn(lambda x: F.local_response_norm(x, 2), PLANE),
    "log_softmax": fn(lambda x: F.log_softmax(x, 1), ROW),
    "logsigmoid": fn(F.logsigmoid, ROW),
    "lp_pool1d": fn(lambda x: F.lp_pool1d(x, 2, 2), LINE),
    "lp_pool2d": fn(lambda x: F.lp_pool2d(x, 2, 2), PLANE),
    "lp_pool3d": fn(lambda x: F.lp_pool3d(x, 2, 2), SPACE),
    "margin_ranking_loss": fn(lambda x, y: F.margin_ranking_loss(x, y, SIGNS), (4,), (4,)),
    "max_pool1d": fn(lambda x: F.max_pool1d(x, 2), LINE),
    "max_pool1d_with_indices": fn(lambda x: F.max_pool1d_with_indices(x, 2), LINE),
    "max_pool2d": fn(lambda x: F.max_pool2d(x, 2), PLANE),
    "max_pool2d_with_indices": fn(lambda x: F.max_pool2d_with_indices(x, 2), PLANE),
    "max_pool3d": fn(lambda x: F.max_pool3d(x, 2), SPACE),
    "max_pool3d_with_indices": fn(lambda x: F.max_pool3d_with_indices(x, 2), SPACE),
    "max_unpool1d": fn(_unpooled(lambda x, i: F.max_unpool1d(x, i, 2), F.max_pool1d), LINE),
    "max_unpool2d": fn(_unpooled(lambda x, i: F.max_unpool2d(x, i, 2), F.max_pool2d), PLANE),
    "max_unpool3d": fn(_unpooled(lambda x, i: F.max_unpool3d(x, i, 2), F.max_pool3d), SPACE),
    "mish": fn(F.mish, ROW),
    "mse_loss": fn(lambda x: F.mse_loss(x, FIXED), ROW),
    "multi_head_attention_forward": fn(_attention, (3, 2, 4), (12, 4)),
    "multi_margin_loss": fn(lambda x: F.multi_margin_loss(x, LABELS), ROW),
    "multilabel_margin_loss": fn(lambda x: F.multilabel_margin_loss(x, torch.tensor([[0, 2, -1]] * 4)), ROW),
    "multilabel_soft_margin_loss": fn(lambda x: F.multilabel_soft_margin_loss(x, MANY.to(x.dtype)), ROW),
    "nll_loss": fn(lambda x: F.nll_loss(x.log_softmax(1), LABELS), ROW),
    "normalize": fn(F.normalize, ROW),
    "pad": fn(lambda x: F.pad(x, (1, 1), mode="reflect"), LINE),
    "pairwise_distance": fn(F.pairwise_distance, ROW, ROW),
    "pdist": fn(F.pdist, ROW),
    "pixel_shuffle": fn(lambda x: F.pixel_shuffle(x, 2), PLANE),
    "pixel_unshuffle": fn(lambda x: F.pixel_unshuffle(x, 2), PLANE),
    "poisson_nll_loss": fn(lambda x: F.poisson_nll_loss(x, SOFT), ROW),
    "prelu": fn(F.prelu, ROW, (3,)),
    "relu": fn(F.relu, ROW),
    "relu6": fn(F.relu6, ROW),
    "relu_": fn(lambda x: F.relu_(x + 0), ROW),
    "rms_norm": fn(lambda x: F.rms_norm(x, (3,)), ROW),
    "rrelu": fn(lambda x: F.rrelu(x, training=True), ROW),
    "rrelu_": fn(lambda x: F.rrelu_(x + 0), ROW),
    "scaled_dot_product_attention": fn(
        F.scaled_dot_product_attention, (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)
    ),
    "selu": fn(F.selu, ROW),
    "selu_": fn(lambda x: F.selu_(x + 0), ROW),
    "sigmoid": fn(F.sigmoid, ROW),
    "silu": fn(F.silu, ROW),
    "smooth_l1_loss": fn(lambda x: F.smooth_l1_loss(x, FIXED), ROW),
    "soft_margin_loss": fn(lambda x: F.soft_margin_loss(x, SIGNS), (4,)),
    "softmax": fn(lambda x: F.softmax(x, 1), ROW),
    "softmin": fn(lambda x: F.softmin(x, 1), ROW),
    "softplus": fn(F.softplus, ROW),
    "softshrink": fn(F.softshrink, ROW),
    "softsign": fn(F.softsign, ROW),
    "tanh": fn(F.tanh, ROW),
    "tanhshrink": fn(F.tanhshrink, ROW),
    "threshold": fn(lambda x: F.threshold(x, 0.1, 0.0), ROW),
    "threshold_": fn(lambda x: F.threshold_(x + 0, 0.1, 0.0), ROW),
    "triplet_margin_loss": fn(F.triplet_margin_loss, ROW, ROW, ROW),
    "triplet_margin_with_distance_loss": fn(F.triplet_margin_with_distance_loss, ROW, ROW, ROW),
    "unfold": fn(lambda x: F.unfold(x, 2), PLANE),
    "upsample": fn(lambda x: F.upsample(x, scale_factor=2, mode="bilinear"), PLANE),
    "upsample_bilinear": fn(lambda x: F.upsample_bilinear(x, scale_factor=2), PLANE),
    "upsample_nearest": fn(lambda x: F.upsample_nearest(x, scale_factor=2), PLANE),
}
"""Functions of `torch.nn.functional`."""

OTHERS: dict[str, Call] = {
    "Embedding(scale_grad_by_freq=True)": with_call(
        lambda: nn.Embedding(4, 3, scale_grad_by_freq=True), lambda m: m(WORDS)
    ),
    "MultiheadAttention, need_weights=False": with_call(
        lambda: nn.MultiheadAttention(4, 2), lambda m, x: m(x, x, x, need_weights=False)[0], (3, 2, 4)
    ),
    "Transformer without dropout": with_call(
        lambda: nn.Transformer(4, 2, 1, 1, 4, dropout=0.0), lambda m, x: m(x, x), (3, 2, 4)
    ),
    "Conv2d, circular padding": of(lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), PLANE),
    "grid_sample of a fixed grid": fn(
        lambda x: F.grid_sample(x, FIXED.reshape(1, 2, 3, 2).repeat(2, 1, 1, 1), align_corners=False), PLANE
    ),
    "utils.parametrizations.orthogonal": of(lambda: parametrizations.orthogonal(nn.Linear(3, 2)), ROW),
    "utils.parametrizations.weight_norm": of(lambda: parametrizations.weight_norm(nn.Linear(3, 2)), ROW),
}
"""Ways of using some of them that have another answer, and what stands beside them in torch."""

CONTAINERS = "holds others and computes nothing of its own"
NONE: dict[str, str] = {
    **dict.fromkeys(
        ("Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"),
        CONTAINERS,
    ),
    **dict.fromkeys(("RNNBase", "RNNCellBase"), "the base of others"),
    "LinearCrossEntropyOptions": "settings",
    "Buffer": "a tensor, not an operation",
    "Parameter": "a tensor, not an operation",
    "UninitializedBuffer": "a tensor, not an operation",
    "UninitializedParameter": "a tensor, not an operation",
    "DataParallel": "copies a network to several devices",
    "NLLLoss2d": "the old name of NLLLoss",
    "assert_int_or_pair": "checks an argument",
    "grouped_mm": "for bfloat16 alone",
    "native_channel_shuffle": "has no derivative in torch",
    "one_hot": "takes whole numbers",
    "scaled_grouped_mm": "for 8 bits and fewer",
    "scaled_mm": "for 8 bits and fewer",
}
"""What takes no floating-point input that is trained, and why."""


def classes() -> list[str]:
    """The public classes of `torch.nn`."""
    return sorted(n for n, x in vars(nn).items() if isinstance(x, type) and not n.startswith("_"))


def functions() -> list[str]:
    """The public functions of `torch.nn.functional`, without what it imports."""
    builtin = (types.BuiltinFunctionType, types.FunctionType)
    found = [n for n, f in vars(F).items() if isinstance(f, builtin) and not n.startswith("_")]
    homes = (None, "torch", "torch._C", "torch._C._nn", F.__name__)
    return sorted(
        n
        for n in found
        if getattr(getattr(F, n), "__module__", None) in homes and not n.startswith("has_torch")
    )


def unlisted() -> list[str]:
    """What torch has and this table has not."""
    known = {*MODULES, *FUNCTIONS, *NONE}
    return [name for name in (*classes(), *functions()) if name not in known]


def make_of(call: Call) -> Callable[[], Any]:
    """A training whose weights are the inputs of the row and the parameters of what it calls."""

    def make() -> Any:
        torch.manual_seed(0)
        inputs = [torch.randn(*shape).requires_grad_() for shape in call.shapes]
        called = call.made()
        with torch.no_grad():
            called(*inputs)  # lazy modules take their shapes from it
        own = list(called.parameters()) if isinstance(called, nn.Module) else []

        def loss(t: int) -> Tensor:
            out = called(*(x * (1 + 0.1 * t) for x in inputs))
            total = torch.zeros(())
            for part in _floating(out):
                slope = torch.linspace(-1.0, 1.0, part.numel()).reshape(part.shape)
                total = total + (part * slope).mean() + 0.5 * part.square().mean()
            return total

        return torch.optim.SGD([*inputs, *own], lr=0.05), loss, lambda: loss(STEPS)

    return make


def _floating(out: Any) -> Iterable[Tensor]:
    if isinstance(out, Tensor):
        return [out] if out.is_floating_point() else []
    return [part for each in out if each is not None for part in _floating(each)]


def outcome(name: str, call: Call) -> Outcome:
    """What comes of a row."""
    with warnings.catch_warnings():  # torch's own about what is old or slow in it
        warnings.simplefilter("ignore")
        try:
            al.hypergradcheck(make_of(call), STEPS)
        except al.LossError as error:
            return Outcome(name, "refused", str(error))
        except al.HypergradcheckError as error:
            return Outcome(name, "wrong", str(error))
    return Outcome(name, "exact")


def scan(rows: dict[str, Call]) -> list[Outcome]:
    return [outcome(name, call) for name, call in rows.items()]


def reason_of(found: Outcome) -> str:
    """A refusal in a few words."""
    for words, short in (
        ("not symmetric", "its second derivative is wrong in torch"),
        ("frequencies", "its gradient is another than the loss has"),
        ("out of autograd's sight", "its backward pass has no second derivative"),
        ("no second derivative", "torch has no second derivative of it"),
    ):
        if words in found.reason:
            return short
    return found.reason


def markdown() -> str:
    """The table for the book, as this version of torch answers."""
    parts = [f"Held to differences with torch {torch.__version__.split('+')[0]} on a CPU, in float64."]
    for title, rows in (
        ("`torch.nn`", MODULES),
        ("`torch.nn.functional`", FUNCTIONS),
        ("Other uses", OTHERS),
    ):
        found = scan(rows)
        exact = [f"`{x.name}`" for x in found if x.result == "exact"]
        refused: dict[str, list[str]] = {}
        for x in found:
            if x.result != "exact":
                refused.setdefault(reason_of(x) if x.result == "refused" else "WRONG", []).append(
                    f"`{x.name}`"
                )
        lines = ["| " + title + " | |", "| --- | --- |", f"| exact ({len(exact)}) | {', '.join(exact)} |"]
        lines += [f"| refused: {why} ({len(names)}) | {', '.join(names)} |" for why, names in refused.items()]
        parts.append("\n".join(lines))
    reasons: dict[str, list[str]] = {}
    for name in (*classes(), *functions()):
        if name in NONE:
            reasons.setdefault(NONE[name], []).append(f"`{name}`")
    lines = ["| without an input to train | |", "| --- | --- |"]
    lines += [f"| {why} | {', '.join(names)} |" for why, names in reasons.items()]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"
