"""The usual augmentation of small images: 4 zero pixels on each side, a random crop, a random flip.

With p the padded image of sample b, rows i and columns j of the crop:

    x[b, c, i, j] = p[b, c, i + dy_b, j' + dx_b],   j' = j, or (columns - 1 - j) where b is flipped

dy and dx are uniform on 0 .. 8, a flip has probability 1/2. They are drawn beforehand (`draws`): a batch is
then a function of numbers, and the same ones give the same batch again. Pixels stay uint8, and a batch is
taken from the padded images by one indexing: the crops are never all made.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MARGIN = 4


def draws(generator: np.random.Generator, images: int) -> Tensor:
    """int64 [3, images]: first row, first column, and 1 for a flip."""
    drawn = generator.integers(0, [[2 * MARGIN + 1], [2 * MARGIN + 1], [2]], (3, images))
    return torch.from_numpy(drawn)


class Crops:
    """Images [n, channels, rows, columns] on their device, kept once with their margin."""

    def __init__(self, images: Tensor) -> None:
        rows, columns = images.shape[2:]
        padded = torch.nn.functional.pad(images, (MARGIN,) * 4)
        self.images = padded[..., MARGIN : MARGIN + rows, MARGIN : MARGIN + columns]
        """The images without their margin: a view."""
        self._crops = padded.unfold(2, rows, 1).unfold(3, columns, 1)
        """[n, channels, 9, 9, rows, columns]: every crop, a view."""

    def take(self, index: Tensor, drawn: Tensor) -> Tensor:
        """The images of an index, [batch], each with its column of `draws`, [3, batch]."""
        top, left, flip = drawn
        x = self._crops[index, :, top, left]
        # Bit by bit x.flip(-1) where the mask is 255, else x: four times as fast as torch.where on bytes.
        mask = flip.to(torch.uint8).mul_(255)[:, None, None, None]
        return x ^ ((x ^ x.flip(-1)) & mask)
