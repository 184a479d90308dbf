"""Deep features of one image at every position, for measures: a trained trunk, and random convolutions beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor

# Input of the trunk as in its training: BGR in [0, 255] minus these.
MEAN_BGR = (104.00699, 116.66877, 122.67892)

BLOCKS = (("1_1", "1_2"), ("2_1", "2_2"), ("3_1", "3_2", "3_3"))

LAYERS = ("2_2", "3_3")
"""Layers of the trunk whose features are compared."""

RANDOM_CHANNELS = (32, 64, 128)


def vgg(image: Tensor, layers: Sequence[str] = LAYERS) -> dict[str, Tensor]:
    """VGG16 features (Simonyan and Zisserman, 2015) of `image` `(1, 3, H, W)` in [-1, 1].

    `vgg22` is relu2_2, `(1, 128, ⌈H/2⌉, ⌈W/2⌉)`, and `vgg33` is relu3_3, `(1, 256, ⌈H/4⌉, ⌈W/4⌉)`; zero borders,
    as the trunk was trained with. Other `layers` are named in the same way.
    """
    with torch.no_grad():
        found = dict(vgg_layers(image, vgg_weights()))
    return {f"vgg{layer.replace('_', '')}": found[layer] for layer in layers}


def vgg_layers(images: Tensor, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each layer's rectified responses to `images` `(N, 3, H, W)` in [-1, 1], "1_1" to "3_3", as they are computed."""
    mean = images.new_tensor(MEAN_BGR).view(1, 3, 1, 1)
    h = (images.flip(1) + 1) * 127.5 - mean
    for number, block in enumerate(BLOCKS, 1):
        h = F.max_pool2d(h, 2, ceil_mode=True) if number > 1 else h
        for name in block:
            kernel, bias = weights[f"kernel.{name}"].to(h), weights[f"bias.{name}"].to(h)
            h = F.relu(F.conv2d(h, kernel, bias, padding=1))
            yield name, h


def random_features(image: Tensor) -> dict[str, Tensor]:
    """Three random convolutions with ReLU, He's variance and a fixed seed, the last two at half the size before.

    `random`, `(1, 128, ⌈H/4⌉, ⌈W/4⌉)`: a measure that owes nothing to what any network was trained on.
    """
    h = image
    with torch.no_grad():
        for layer, kernel in enumerate(_random_kernels()):
            h = F.max_pool2d(h, 2, ceil_mode=True) if layer > 0 else h
            h = F.relu(F.conv2d(h, kernel.to(h), padding=1))
    return {"random": h}


@cache
def vgg_weights() -> dict[str, Tensor]:
    """The trunk's kernels `kernel.<layer>` and biases `bias.<layer>`, on the CPU; not to be changed."""
    data = resources.files("pgcn").joinpath("weights", "vgg16.safetensors").read_bytes()
    return {name: value.float() for name, value in load(data).items()}


@cache
def _random_kernels() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    inputs = (3, *RANDOM_CHANNELS[:-1])
    return tuple(
        torch.randn(c_out, c_in, 3, 3, generator=generator) * (2 / (9 * c_in)) ** 0.5
        for c_in, c_out in zip(inputs, RANDOM_CHANNELS, strict=True)
    )
