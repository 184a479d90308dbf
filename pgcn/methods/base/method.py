"""A method with one net a scale: its plan, its estimate and its files, from its nets and settings alone."""

from __future__ import annotations

import math
import time
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
from pgcn.patchgencn.langevin import langevin

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

    def iterations(self, settings: S, sizes: Sequence[Size]) -> list[int]:
        """The number of iterations of each stage of the training: by default, a stage is a scale."""
        return [settings.iterations_at(scale, len(sizes)) for scale in range(len(sizes))]

    def updates(self, settings: S, sizes: Sequence[Size]) -> list[int]:
        """How often the net of each scale is updated, for estimates: by default, in its stage's iterations."""
        return self.iterations(settings, sizes)

    def plan(self, height: int, width: int, settings: S) -> WorkPlan:
        """The work of training on an image of this size."""
        learned = learned_sizes(height, width, settings)
        passes = [self._operations(at, tuple(learned), settings) for at in range(len(learned))]
        chain = settings.chains * settings.langevin_steps
        updates = self.updates(settings, learned)
        # A gradient by pixels costs two passes, one by weights three, of each chain's end and of the image.
        passes_each = 2 * chain + 3 * (settings.chains + 1)
        return WorkPlan(
            learned=learned,
            exact=exact_sizes(height, width, settings),
            training=sum(n * one for n, one in zip(updates, passes, strict=True)) * passes_each,
            sampling=sum(2 * settings.langevin_steps * one for one in passes),
            iterations=sum(self.iterations(settings, learned)),
        )

    def _operations(self, scale: int, sizes: tuple[Size, ...], settings: S) -> float:
        """Operations of one forward pass of a scale's net."""
        return _operations_a_pixel(self, scale, sizes, settings) * sizes[scale][0] * sizes[scale][1]

    def rate(self, size: Size, settings: S, device: str = "cpu", threads: int = 1) -> float:
        """Operations per second of Langevin steps of a net at `size`, measured for about a second."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        net = self.net(0, [size], settings, 3, torch.Generator().manual_seed(0)).to(device)
        gradient, x = net.gradient(), torch.zeros(1, 3, *size, device=device)

        def seconds(steps: int) -> float:
            began = time.perf_counter()
            langevin(x, gradient, settings.chain(steps, 0.0), torch.zeros_like).sum().item()
            return time.perf_counter() - began

        seconds(1)
        count = max(1, int(1.0 / seconds(1)))
        elapsed = seconds(count)
        torch.set_num_threads(before)
        return count * 2 * self._operations(0, (size,), settings) / elapsed

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


@lru_cache(maxsize=256)
def _operations_a_pixel(method: NetMethod[Any], scale: int, sizes: tuple[Size, ...], settings: NetSettings) -> float:
    """Operations of a forward pass for a pixel, counted on an image of `PROBE` px."""
    net = method.net(scale, list(sizes), settings, 3, torch.Generator().manual_seed(0))
    counted = {torch.ops.aten.mkldnn_convolution: _convolution_operations}  # torch itself does not count these
    with FlopCounterMode(display=False, custom_mapping=counted) as counter, torch.no_grad():
        net(torch.zeros(1, 3, PROBE, PROBE))
    return float(counter.get_total_flops()) / PROBE**2


def _convolution_operations(x: Sequence[int], kernel: Sequence[int], *rest: Any, out_shape: Sequence[int]) -> int:
    """Operations of a convolution: two for each weight of a kernel `(C_out, C_in, h, w)` and position of the output."""
    _, inputs, height, width = kernel
    return 2 * inputs * height * width * math.prod(out_shape)
