"""Weights of the energy network for a batch of images, its border width and its number formats."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

PAD = 5
"""Width of the zero border, px: five 3x3 valid convolutions take it off again."""

Precision = Literal["float32", "bfloat16"]
"""Number format of the convolutions. Weights, states of chains, means and optimizer steps are float32 in both."""


class Weights(NamedTuple):
    """Weights of f for a batch of B images; B is 1 for one image.

    Kernels `(B, C_out, C_in, 3, 3)`, spectrally normalized except for the last, and biases `(B, C_out)`.
    """

    kernels: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def detach(self) -> Weights:
        """The same numbers without gradients, as chains use them."""
        return Weights(tuple(k.detach() for k in self.kernels), tuple(b.detach() for b in self.biases))

    def of(self, image: int) -> Weights:
        """The weights of one image, as a batch of one."""
        one = slice(image, image + 1)
        return Weights(tuple(k[one] for k in self.kernels), tuple(b[one] for b in self.biases))

    def to(self, where: str | torch.device | torch.dtype) -> Weights:
        """The same weights on a device, or in a number format."""
        return Weights(tuple(k.to(where) for k in self.kernels), tuple(b.to(where) for b in self.biases))
