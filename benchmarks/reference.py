"""A plain implementation of the published algorithm: the reference for the product's trainer.

One image, float32, autograd everywhere, the whole coarse pyramid run again in every iteration, and a power
iteration in every call of the network. Zheng, Xie and Li, CVPR 2021, with the published constants as settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgcn.imaging.scales import Size, resize, scale_sizes
from pgcn.settings import Settings, Step

Norms = Literal["call", "update"]


class Net(nn.Module):
    """f at one scale; `norms` says when its spectral norms take a power iteration: in each call, as published."""

    def __init__(self, wide: bool, norms: Norms, generator: torch.Generator) -> None:
        super().__init__()
        channels = [3, 128, 64, 64, 64, 1] if wide else [3, 64, 32, 32, 32, 1]
        self.norms = norms
        self.kernels = nn.ParameterList(
            0.005 * torch.randn(channels[i + 1], channels[i], 3, 3, generator=generator, device=generator.device)
            for i in range(5)
        )
        self.biases = nn.ParameterList(torch.zeros(channels[i + 1], device=generator.device) for i in range(5))
        self.u = [
            F.normalize(torch.randn(channels[i + 1], generator=generator, device=generator.device), dim=0)
            for i in range(4)
        ]
        for _ in range(20):
            self.power_iteration()

    @torch.no_grad()
    def power_iteration(self) -> None:
        """Improve the left singular vector of every normalized layer."""
        for i in range(4):
            matrix = self.kernels[i].flatten(1)
            v = F.normalize(matrix.T @ self.u[i], dim=0)
            self.u[i] = F.normalize(matrix @ v, dim=0)

    def forward(self, x: Tensor) -> Tensor:
        """f of padded images."""
        if self.norms == "call":
            self.power_iteration()
        for i in range(5):
            kernel = self.kernels[i]
            if i < 4:
                matrix = kernel.flatten(1)
                v = F.normalize(matrix.detach().T @ self.u[i], dim=0)
                kernel = kernel / (self.u[i] @ (matrix @ v))
            x = F.conv2d(x, kernel, self.biases[i])
            x = F.elu(x) if i < 4 else x
        return x


@dataclass
class Trained:
    """Result of `train`: a network for each scale, and the loss of every iteration."""

    nets: list[Net]
    sizes: list[Size]
    settings: Settings
    losses: list[float]


def langevin(x: Tensor, net: Net, steps: list[Step], generator: torch.Generator) -> Tensor:
    """Short-run Langevin dynamics on padded images."""
    for step_size, sigma in steps:
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net(x).sum(), x)
        x = x.detach() + 0.5 * step_size * gradient
        if sigma > 0:
            x = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
        x = x.clamp(-1, 1)
    return x


def pad(x: Tensor) -> Tensor:
    """Add the border of zeros."""
    return F.pad(x, (5, 5, 5, 5))


def crop(x: Tensor) -> Tensor:
    """Remove the border."""
    return x[..., 5:-5, 5:-5]


def synthesize(nets: list[Net], sizes: list[Size], settings: Settings, generator: torch.Generator) -> Tensor:
    """The start at the scale above `nets`: noise that has passed through all of them."""
    x = torch.rand(1, 1, *sizes[0], generator=generator, device=generator.device) * 2 - 1
    x = x.expand(-1, 3, -1, -1)
    for scale, net in enumerate(nets):
        steps = settings.chain(settings.steps_at(scale), settings.frozen_sigma())
        x = resize(crop(langevin(pad(x), net, steps, generator)), sizes[scale + 1])
    return x


def train(image: Tensor, settings: Settings, seed: int = 0, *, norms: Norms = "call") -> Trained:
    """Train on `image` `(1, 3, H, W)` in [-1, 1]."""
    generator = torch.Generator(image.device).manual_seed(seed)
    sizes = scale_sizes(image.shape[2], image.shape[3], settings)
    trained = Trained([], sizes, settings, [])
    h, w = sizes[0]
    recovery_start = resize(resize(resize(image, sizes[0]), (round(0.75 * h), round(0.75 * w))), sizes[0])
    for scale, size in enumerate(sizes):
        observed = resize(image, size)
        net = Net(settings.is_wide(max(size)), norms, generator)
        if settings.warm_start and trained.nets and trained.nets[-1].kernels[0].shape == net.kernels[0].shape:
            net.load_state_dict(trained.nets[-1].state_dict())
            net.u = list(trained.nets[-1].u)
        adam = torch.optim.Adam(net.parameters(), lr=settings.learning_rate, betas=(0.5, 0.999))
        iterations = settings.iterations_at(scale)
        for iteration in range(iterations):
            net.power_iteration()
            steps = settings.chain(settings.steps_at(scale), settings.sigma(iteration, scale))
            start = synthesize(trained.nets, sizes, settings, generator)
            synthesized = langevin(pad(start), net, steps, generator)
            f_observed = net(pad(observed)).mean()
            loss = net(synthesized).mean() - f_observed
            if iteration % settings.recovery_every == 0:
                recovered = recover(recovery_start, net, settings, generator)
                loss = loss + settings.recovery_weight * (net(recovered).mean() - f_observed)
            adam.param_groups[0]["lr"] = settings.learning_rate_at(iteration, iterations)
            adam.zero_grad()
            loss.backward()
            adam.step()
            trained.losses.append(float(loss.detach()))
        net.power_iteration()
        if scale + 1 < len(sizes):
            recovery_start = resize(crop(recover(recovery_start, net, settings, generator)), sizes[scale + 1])
        trained.nets.append(net)
    return trained


def recover(start: Tensor, net: Net, settings: Settings, generator: torch.Generator) -> Tensor:
    """The recovery chain: no noise."""
    return langevin(pad(start), net, settings.chain(settings.recovery_steps, 0.0), generator)


def sample(trained: Trained, seed: int = 0) -> Tensor:
    """A sample at the finest scale, `(1, 3, H, W)`."""
    generator = torch.Generator(trained.nets[0].u[0].device).manual_seed(seed)
    settings, finest = trained.settings, len(trained.nets) - 1
    start = pad(synthesize(trained.nets[:finest], trained.sizes, settings, generator))
    steps = settings.chain(settings.steps_at(finest), settings.frozen_sigma())
    return crop(langevin(start, trained.nets[finest], steps, generator))
