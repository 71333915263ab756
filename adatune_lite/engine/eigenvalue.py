"""Largest eigenvalue of the Hessian: the width of a minimum, measured over a stated set of images.

    H = sum_k n_k H_k / sum_k n_k

is the Hessian of the mean loss over chunks k of n_k images; it is never formed. `scipy.sparse.linalg.eigsh`
(ARPACK, implicitly restarted Lanczos) asks for products H v, each the weighted mean of the chunks' products,
so that memory holds the graph of one chunk. What it costs is counted in products over all images: per image
a forward pass, a backward pass and a double backward.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adatune_lite.checks import is_number, shown, whole
from adatune_lite.engine.closures import BufferGuard, Closure, evaluate
from adatune_lite.engine.curvature import LossError, check_second_derivative, gradient, product
from adatune_lite.engine.graph import HookPolicy

BASIS = 10
"""Vectors that Lanczos keeps, so the fewest products. scipy's 20 needed more of them on trained networks."""


class NoEigenvalue(RuntimeError):
    """The search did not reach its tolerance, or met a product that is not finite."""


@dataclass(frozen=True)
class TopEigenvalue:
    """What `top_eigenvalue` found."""

    value: float
    residual: float
    """|H v - value v| for its vector v of length 1: an eigenvalue of H lies within this distance of value."""
    products: int
    """Products over all images that were taken, that of the residual among them."""
    images: int


def top_eigenvalue(
    losses: Sequence[Closure],
    weights: Sequence[Tensor],
    images: Sequence[int],
    *,
    tolerance: float = 1e-4,
    most_products: int = 1000,
    seed: int = 0,
) -> TopEigenvalue:
    """The largest eigenvalue, by its sign and not by its size, of the Hessian of the mean loss.

    losses: for each chunk a closure that returns its mean loss at the present weights. BatchNorm uses its
        running statistics, whatever the mode; dropout must be off (`model.eval()`).
    weights: what the Hessian is taken by; they stay as they are. images: the number of images of each chunk.
    tolerance: residual at which the search ends, relative to the value. seed: of the start vector.

    Vectors are float64, products of the weights' dtype: with float32 a tolerance far below 1e-5 is not
    reached. Memory besides the graph of a chunk: BASIS float64 vectors of the weights' size, and a few more.

    Raises ValueError for arguments out of range, LossError for a closure that breaks the rules of training
    losses or gives two values at the same weights, NoEigenvalue after `most_products` products.
    """
    weights = _check(losses, weights, images, tolerance, most_products)
    whole("seed", seed, 0)
    operator = _Hessian(losses, weights, images, most_products)
    size = sum(w.numel() for w in weights)
    drawing = torch.Generator("cpu").manual_seed(seed)
    start = torch.randn(size, generator=drawing, dtype=torch.float64, device="cpu").numpy()
    value, vector = _largest(operator, start, tolerance)
    residual = float(np.linalg.norm(operator(vector) - value * vector))
    return TopEigenvalue(value, residual, operator.products, sum(images))


def _largest(operator: _Hessian, start: np.ndarray, tolerance: float) -> tuple[float, np.ndarray]:
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    start = start / np.linalg.norm(start)
    if len(start) == 1:
        return float(operator(start)[0] / start[0]), start
    try:
        values, vectors = eigsh(
            LinearOperator((len(start), len(start)), matvec=operator, dtype=np.float64),
            k=1,
            which="LA",
            v0=start,
            ncv=min(BASIS, len(start)),
            tol=tolerance,
            maxiter=operator.most,  # restarts, of which each takes several products: the operator ends first
        )
    except ArpackNoConvergence as error:
        raise NoEigenvalue(f"no eigenvalue to a tolerance of {tolerance:g}: {error}") from error
    except ArpackError:
        if operator(start).any():
            raise
        return 0.0, start  # without curvature Lanczos has nothing to start from
    return float(values[0]), vectors[:, 0]


class _Hessian:
    """v to H v on flat float64 vectors, counting."""

    def __init__(
        self, losses: Sequence[Closure], weights: list[Tensor], images: Sequence[int], most: int
    ) -> None:
        self.losses, self.weights, self.images = losses, weights, images
        self.most, self.products = most, 0
        self.hooks = HookPolicy("look")
        self.seen: list[float] = []
        """The loss of each chunk, as it was in the first product."""

    def __call__(self, v: np.ndarray) -> np.ndarray:
        if self.products == self.most:
            raise NoEigenvalue(
                f"{self.most} products did not reach the tolerance: allow more of them, or a larger tolerance"
            )
        self.products += 1
        parts = torch.tensor(v, device="cpu").reshape(-1).split([w.numel() for w in self.weights])
        pairs = zip(parts, self.weights, strict=True)
        # the type first: a device may have no float64
        direction = [x.reshape(w.shape).to(w.dtype).to(w.device) for x, w in pairs]
        total = torch.zeros(v.size, dtype=torch.float64, device="cpu")
        for k, count in enumerate(self.images):
            total += self._chunk(k, direction) * (count / sum(self.images))
        if not total.isfinite().all():
            raise NoEigenvalue("a Hessian-vector product is not finite: the loss or its curvature is not")
        return total.numpy()

    def _chunk(self, k: int, direction: list[Tensor]) -> Tensor:
        name, first = f"losses[{k}]", len(self.seen) == k
        with BufferGuard("running") as guard:
            loss = evaluate(self.losses[k], name, self.weights, first=first, hooks=self.hooks)
            grads = gradient(loss, self.weights, create_graph=True, what=name)
            if first:
                check_second_derivative(grads)
            used = [(g, v) for g, v in zip(grads, direction, strict=True) if g is not None]
            found = product([g for g, _ in used], self.weights, [v for _, v in used])
        guard.restore()
        value = float(loss.detach())
        if first:
            self.seen.append(value)
        elif abs(value - self.seen[k]) > 100 * torch.finfo(loss.dtype).eps * abs(self.seen[k]):
            raise LossError(
                f"{name} gave {self.seen[k]:.9g} and then {value:.9g} at the same weights; the usual cause "
                "is dropout: call model.eval() before, and give each chunk its own fixed images"
            )
        return torch.cat([x.reshape(-1).cpu().double() for x in found])


def _check(losses: object, weights: object, images: object, tolerance: object, most: object) -> list[Tensor]:
    """The weights as a list."""
    for name, given in (("losses", losses), ("images", images)):
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ValueError(f"{name} must be a list with an entry for each chunk, not {shown(given)}")
    assert isinstance(losses, Sequence)
    assert isinstance(images, Sequence)
    if not losses or len(losses) != len(images):
        raise ValueError(
            f"losses and images must be as many, and at least one: {len(losses)} losses, {len(images)} images"
        )
    for count in images:
        whole("the images of a chunk", count, 1)
    tensors = list(weights) if isinstance(weights, Iterable) and not isinstance(weights, Tensor) else []
    if not tensors or not all(
        isinstance(w, Tensor) and w.is_floating_point() and w.requires_grad and w.numel() for w in tensors
    ):
        raise ValueError(
            "weights must be a list of floating-point tensors that require a gradient, at least one, "
            f"not {shown(weights)}"
        )
    if not (is_number(tolerance) and 0 < tolerance < math.inf):
        raise ValueError(f"tolerance must be a finite number above 0, not {shown(tolerance)}")
    whole("most_products", most, 2)
    return tensors
