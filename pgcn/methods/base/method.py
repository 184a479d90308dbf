"""A method with one net a scale: its plan, its estimate and its files, from its nets and settings alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pgcn.imaging.channels import Channels
from pgcn.imaging.scales import Size, exact_sizes, learned_sizes, thin_problem
from pgcn.method import State, WorkPlan
from pgcn.methods.base.energy import ScaleEnergy
from pgcn.methods.base.model import NetPyramid, load_pyramid
from pgcn.methods.base.settings import NetSettings
from pgcn.methods.base.states import check_own
from pgcn.methods.base.trainer import NetTrainer
from pgcn.patchgencn.flops import joint_rate
from pgcn.patchgencn.langevin import langevin
from pgcn.stopwatch import clock_for
from pgcn.threads import set_threads

S = TypeVar("S", bound=NetSettings)

PROBE = 64
"""Side of the image, px, that operations are counted on."""


class NetMethod(ABC, Generic[S]):
    """A `pgcn.method.Method` whose model has one net a scale. It trains images alone.

    A subclass has the class attributes, `net` and `training`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]
    paper: ClassVar[str]
    settings: ClassVar[type[NetSettings]]
    presets: ClassVar[Mapping[str, Any]]
    model: ClassVar[type[NetPyramid]] = NetPyramid
    training: ClassVar[type[NetTrainer]]

    @abstractmethod
    def net(self, scale: int, sizes: Sequence[Size], settings: S, channels: int, generator: Any) -> ScaleEnergy:
        """The initial net of a learned scale, with weights from `generator`; `sizes` are those of learned scales."""

    def problem(self, height: int, width: int, settings: S) -> str | None:
        """The problem of an image that is too thin."""
        return thin_problem(height, width, settings)

    def sizes(self, height: int, width: int, settings: S) -> list[Size]:
        """The sizes of the learned scales of an image of this size, coarsest first: by default in equal ratios."""
        return learned_sizes(height, width, settings)

    def iterations(self, settings: S, sizes: Sequence[Size]) -> list[int]:
        """The number of iterations of each stage of the training: by default, a stage is a scale."""
        return [settings.iterations_at(scale, len(sizes)) for scale in range(len(sizes))]

    def updates(self, settings: S, sizes: Sequence[Size]) -> list[int]:
        """How often the net of each scale is updated, for estimates: by default, in its stage's iterations."""
        return self.iterations(settings, sizes)

    def plan(self, height: int, width: int, settings: S) -> WorkPlan:
        """The work of training on an image of this size."""
        learned = self.sizes(height, width, settings)
        passes = [self._operations(at, tuple(learned), settings) for at in range(len(learned))]
        updates = self.updates(settings, learned)
        return WorkPlan(
            learned=learned,
            exact=exact_sizes(height, width, settings),
            training=sum(n * one for n, one in zip(updates, passes, strict=True)) * _passes(settings),
            sampling=sum(2 * settings.langevin_steps * one for one in passes),
            iterations=sum(self.iterations(settings, learned)),
        )

    def _operations(self, scale: int, sizes: tuple[Size, ...], settings: S) -> float:
        """Operations of one forward pass of a scale's net."""
        return _operations_a_pixel(self, scale, sizes, settings) * sizes[scale][0] * sizes[scale][1]

    def rate(self, sizes: Sequence[Size], settings: S, device: str = "cpu", threads: int = 1) -> float:
        """Operations per second of updates of nets, measured at the coarsest and the finest scale for a second."""
        with set_threads(threads):
            ends = [self._rate(scale, sizes, settings, device, threads) for scale in (0, len(sizes) - 1)]
        passes = [self._operations(scale, tuple(sizes), settings) for scale in range(len(sizes))]
        works = [n * one for n, one in zip(self.updates(settings, sizes), passes, strict=True)]
        return joint_rate(works, passes, ends[0], ends[-1])

    def _rate(self, scale: int, sizes: Sequence[Size], settings: S, device: str, threads: int) -> float:
        """Operations per second of updates of a scale's net: chains, and a step of Adam."""
        net = self.net(scale, sizes, settings, 3, torch.Generator().manual_seed(0)).to(device)
        x, now = torch.zeros(settings.chains, 3, *sizes[scale], device=device), clock_for(device, threads)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-6)
        coefficients = torch.tensor([1 / len(x)] * len(x) + [-1.0], device=device)

        def seconds(count: int) -> float:
            began = now()
            for _ in range(count):
                net.begin_iteration()
                end = langevin(x, net.gradient(), settings.chain(), torch.randn_like)
                net.learn(torch.cat([end, x[:1]]), coefficients)
                optimizer.step()
            end.sum().item()
            return now() - began

        seconds(1)
        count = max(1, round(0.5 / seconds(1)))
        return count * _passes(settings) * self._operations(scale, tuple(sizes), settings) / seconds(count)

    def trainer(
        self,
        images: Sequence[Tensor],
        settings: S,
        seeds: Sequence[int],
        *,
        mask: Tensor | None = None,
        device: str | torch.device = "cpu",
        channels: Sequence[Channels] | None = None,
    ) -> NetTrainer:
        """A training on one image. Raises `ValueError` for several, and for an image that cannot be trained on."""
        if len(images) != 1:
            raise ValueError(f"the method {self.name} trains images alone, not as a batch of {len(images)}")
        own = None if channels is None else channels[0]
        return self.training(self, images[0], settings, seeds[0], mask, device, own)

    def position(self, state: State, settings: S, seed: int, sizes: Sequence[Size]) -> Hashable:
        """The stage and iteration of a state."""
        return check_own(state, self.name, settings, seed, sizes)

    def load(self, files: Mapping[str, bytes]) -> NetPyramid:
        """The model in these files."""
        return load_pyramid(self, files)

    def after_divergence(self, settings: S) -> S:
        """Half the step size: training is deterministic, and an unchanged retry would diverge again."""
        return settings.model_copy(update={"step_size": settings.step_size / 2})


def _passes(settings: NetSettings) -> int:
    """Forward passes of one image that take as long as an update of a net.

    A gradient by pixels costs two passes, one by weights three, of each chain's end and of the image.
    """
    return 2 * settings.chains * settings.langevin_steps + 3 * (settings.chains + 1)


@lru_cache(maxsize=256)
def _operations_a_pixel(method: NetMethod[Any], scale: int, sizes: tuple[Size, ...], settings: NetSettings) -> float:
    """Operations of a forward pass for a pixel, counted on an image of `PROBE` px."""
    # In float64, which does not take the convolution of oneDNN, one that the counter does not know.
    net = method.net(scale, list(sizes), settings, 3, torch.Generator().manual_seed(0)).double()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, PROBE, PROBE, dtype=torch.float64))
    return float(counter.get_total_flops()) / PROBE**2
