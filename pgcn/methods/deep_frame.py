"""Deep FRAME: the filters of a trained network, and a learned weight for each.

p(x) ∝ exp(Σ_k w_k Σ_u φ_k(x)(u))·exp(-|x|²/2ρ²): φ_k are the rectified responses of some layers of the bundled VGG16
trunk, which stays as it is (Lu, Zhu and Wu, "Learning FRAME Models Using CNN Filters", AAAI 2016). w_k moves by the
difference of the mean response to the image and to the synthesized images, so that samples have the image's means of
all channels. Training and pyramid are those of FRAME (`pgcn.methods.frame`).

Responses are divided by their deviation on the image, and the step of each layer by its gain, the mean square of its
gradients: without the gain, a learning rate that fitted the cat diverged on bricks.

The filters see some 14 px (relu2_2), and nothing says where: as FRAME, a texture model. `frechet_vgg22` and
`frechet_vgg33` measure the features that it is trained on, or those next to them: compare it with other methods by
other metrics, and by eye.

`paper`: one scale, one layer, three chains. The published step and noise are those of pixels in [0, 255] with a
reference of deviation 1 there, and weights of its own scale; our normalized responses need other ones. Nor are its
chains persistent, as published: in a trial at 36 px on relu3_3 such chains became smooth over 1,200 steps, and samples,
which start from noise, were noise after 60. The preset as it is was not tried at its own size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pgcn.imaging.scales import Size
from pgcn.methods.base import EXACT_DRAFT
from pgcn.methods.base.energy import pooled
from pgcn.methods.frame.method import FilterMethod
from pgcn.methods.frame.model import FilterEnergy
from pgcn.methods.frame.settings import FilterSettings
from pgcn.metrics.features import BLOCKS, vgg_layers, vgg_weights

SHOWN = 2
"""Channels of each layer whose histograms people see."""

LEAST = 0.2
"""Least deviation that a channel's responses are divided by, over the root mean square of its layer: the responses of a
channel that is nearly always zero would count for too much."""

PACE = 10.0
"""Factor of the steps of weights, so that a good learning rate is below 1."""


class Settings(FilterSettings):
    """Settings of deep FRAME."""

    method: ClassVar[str] = "deep-frame"

    step_size: float = Field(0.05, gt=0, le=10, description="δ², the mean over a chain's steps")
    learning_rate: float = Field(0.4, gt=0, le=1, description="of the weights, at the first iteration")
    final_learning_rate: float = Field(0.01, ge=0, le=1, description="reached linearly after 80 % of the iterations")
    momentum: float = Field(0.5, ge=0, lt=1, description="of the steps of the weights")
    reference: float = Field(1.0, gt=0, le=100, description="ρ of the Gaussian reference, in units of [-1, 1]")
    layers: Literal["1_2", "2_2", "3_3", "1_2+2_2", "2_2+3_3", "1_2+2_2+3_3"] = Field(
        "1_2+2_2", description="layers of the VGG trunk whose rectified responses are the filters"
    )


class DeepFrameEnergy(FilterEnergy):
    """Fixed filters of the trunk, a learned weight for each channel, and a Gaussian reference.

    The trunk sees the first three channels of several as RGB, and each further one, or each of two, as gray.
    """

    def __init__(self, channels: int, *, layers: Sequence[str], reference: float) -> None:
        super().__init__()
        self.layers, self.reference = layers, reference
        for name, value in vgg_weights().items():
            self.register_buffer(name.replace(".", "_"), value, persistent=False)
        colour = channels > 2
        self.seen = [[0, 1, 2]] * colour + [[c] * 3 for c in range(3 * colour, channels)]
        counts = [len(vgg_weights()[f"bias.{layer}"]) * len(self.seen) for layer in layers]
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(count)) for count in counts)
        for layer, count in zip(layers, counts, strict=True):
            self.register_buffer(f"deviations_{layer}", torch.ones(count))
            self.register_buffer(f"gain_{layer}", torch.ones(()))
        self.halo = halo(layers[-1])

    def responses(self, x: Tensor) -> list[Tensor]:
        """The responses of each layer to `x` `(N, C, H, W)`, over their deviations on the image: `(N, K, h, w)`."""
        trunk = {name: self.get_buffer(name.replace(".", "_")) for name in vgg_weights()}
        found: list[Tensor] = []
        shown = x[:, self.seen].flatten(0, 1)
        for name, h in vgg_layers(shown, trunk):
            if name in self.layers:
                each = h.reshape(len(x), -1, *h.shape[-2:])
                found.append(each / self.get_buffer(f"deviations_{name}").view(-1, 1, 1))
            if name == self.layers[-1]:
                break
        return found

    def fit(self, image: Tensor) -> None:
        """Divide each channel's responses by their standard deviation over `image` `(1, C, H, W)`; take layers' gains.

        The gain of a layer is the mean square, over pixels, of the gradient of its responses with random signs.
        """
        with torch.no_grad():
            for layer, each in zip(self.layers, self.responses(image), strict=True):
                std = each.std((0, 2, 3), correction=0)
                floor = LEAST * std.square().mean().sqrt().clamp_min(1e-3)
                self.get_buffer(f"deviations_{layer}").copy_(std.maximum(floor))
        generator = torch.Generator().manual_seed(0)
        for at, layer in enumerate(self.layers):
            with torch.enable_grad():
                x = image.detach().requires_grad_()
                each = self.responses(x)[at]
                signs = torch.randint(0, 2, each.shape, generator=generator).to(each) * 2 - 1
                gradient = torch.autograd.grad(each, x, signs)[0]
            self.get_buffer(f"gain_{layer}").copy_(gradient.square().sum(1).mean().clamp_min(1e-6))

    def learn(self, images: Tensor, coefficients: Tensor, positions: Tensor | None = None) -> Tensor:
        """As `ScaleEnergy.learn`; the step of a layer is divided by its gain, and no difference counts more than 1.

        So the change of a chain by one step of the weights is the same for every image and layer.
        """
        f = super().learn(images, coefficients, positions)
        for layer, weights in zip(self.layers, self.weights, strict=True):
            assert weights.grad is not None
            weights.grad = PACE * weights.grad.clamp(-1, 1) / self.get_buffer(f"gain_{layer}")
        return f

    def shown_responses(self, x: Tensor) -> Mapping[str, Tensor]:
        """The two channels of each layer that the learned weights change the most."""
        found = {}
        for layer, weights, each in zip(self.layers, self.weights, self.responses(x), strict=True):
            for channel in weights.detach().abs().topk(SHOWN).indices.tolist():
                found[f"layer {layer}, channel {channel}"] = each[:, channel]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """f at the positions of the last layer: `(N, C, H, W)` to `(N, h, w)`."""
        responses = self.responses(x)
        like = responses[-1][:, 0]
        f = -share(x, like) * pooled(x.square().sum(1, keepdim=True), like) / (2 * self.reference**2)
        for weights, each in zip(self.weights, responses, strict=True):
            own = (weights.view(-1, 1, 1) * each).sum(1, keepdim=True)
            f = f + share(own, like) * pooled(own, like)
        return f


def share(x: Tensor, f: Tensor) -> float:
    """Positions of `x` for one of `f`."""
    return x.shape[-2] * x.shape[-1] / (f.shape[-2] * f.shape[-1])


def halo(layer: str) -> int:
    """Distance, px, up to which a pixel's gradient depends on others: that of all layers up to `layer`."""
    reach, step = 0, 1
    for number, block in enumerate(BLOCKS, 1):
        if number > 1:
            reach, step = reach + step, 2 * step
        for name in block:
            reach += 2 * step
            if name == layer:
                return reach
    raise ValueError(f"the trunk has no layer {layer}")


_draft = Settings(
    **EXACT_DRAFT,
    min_size=12,
    scales=3,
    iterations=100,
    langevin_steps=12,
)


class DeepFrame(FilterMethod[Settings]):
    """The method; see the module."""

    name = Settings.method
    summary = "fixed filters of a trained network, learned weights of their responses: textures"
    paper = "Lu, Zhu, Wu: Learning FRAME Models Using CNN Filters, AAAI 2016"
    settings = Settings

    presets: ClassVar[Mapping[str, Settings]] = {
        "draft": _draft,
        "best": _draft.model_copy(update={"max_size": 2048, "iterations": 300, "langevin_steps": 20}),
        "paper": Settings(
            max_size=224,
            scales=1,
            layers="2_2",
            chains=3,
            langevin_steps=40,
            iterations=500,
        ),
    }

    def net(
        self, scale: int, sizes: Sequence[Size], settings: Settings, channels: int, generator: Any
    ) -> DeepFrameEnergy:
        """The trunk, with weights of zero."""
        return DeepFrameEnergy(channels, layers=settings.layers.split("+"), reference=settings.reference)


METHOD = DeepFrame()
