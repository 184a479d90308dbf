"""The interface of a training method: a trained model as tasks and jobs use it, and the progress of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pgcn.imaging.channels import Channels
from pgcn.imaging.noise import Draw
from pgcn.imaging.scales import Size


class DivergenceError(ArithmeticError):
    """The training diverged or collapsed. Another seed and a smaller step size may succeed."""


@dataclass(frozen=True)
class Progress:
    """The state of a training after an iteration.

    `done` is the share of all operations that are done, in [0, 1]. `metrics` holds one dictionary for each image of
    the batch where the iteration is a recorded one, and is empty otherwise.
    """

    scale: int
    scales: int
    iteration: int
    iterations: int
    done: float
    metrics: list[dict[str, float]] = field(default_factory=list)

    @property
    def scale_finished(self) -> bool:
        """True after the last iteration of a scale."""
        return self.iteration == self.iterations


@dataclass(frozen=True)
class ChainOptions:
    """Options of one chain at one scale. None means: as in sampling.

    - `steps`: number of steps.
    - `last`: only the last steps, the shortest ones, of a chain that has at least as many as in sampling; not with
      `steps`.
    - `noise_std`: σ of the noise of a step of mean length, in units of [-1, 1].
    - `draw`: source of standard normal noise; without it, state i draws from a generator of seed i.
    - `after`: applied to the states `(N, C, H, W)` after each step, to clamp known pixels for example.
    - `wrap`: the image is a torus, whose opposite sides meet.
    - `frames`: states are frames of a clip. At exact scales each begins with the matches of the frame before, and all
      have the same random numbers.
    """

    steps: int | None = None
    last: int | None = None
    noise_std: float | None = None
    draw: Draw | None = None
    after: Callable[[Tensor], Tensor] | None = None
    wrap: bool = False
    frames: bool = False


AfterStep = Callable[[Tensor, int], Tensor]
"""Applied to the states `(N, C, H, W)` after each step at a scale: clamps known pixels, for example."""

AS_SAMPLED = ChainOptions()
"""The chain of plain sampling."""


class Model(Protocol):
    """A trained generative model of one image, as tasks, jobs and the gallery may use it.

    Images are `(N, C, H, W)` in [-1, 1], of the channels that `channels` describes. Scale 0 is the coarsest; `sizes`
    has one entry for each scale.
    """

    @property
    def channels(self) -> Channels:
        """The description of the C channels of the model's images."""

    @property
    def sizes(self) -> list[Size]:
        """Trained sizes (height, width), px, coarsest first."""

    @property
    def learned(self) -> int:
        """Number of learned scales, the coarsest ones; those above are exact, and bound their memory themselves."""

    @property
    def device(self) -> torch.device:
        """The device of the model's tensors, where its inputs have to be."""

    @property
    def halo(self) -> int:
        """Distance, px, up to which a pixel's gradient depends on other pixels."""

    def samples(
        self, n: int, size: Size | None = None, *, seed: int = 0, start_scale: int = 0, start: Tensor | None = None
    ) -> Iterator[list[Tensor]]:
        """Draw `n` samples in batches: for each batch, the ends of its chains at every scale, finest last."""

    def refine(self, x: Tensor, scale: int, options: ChainOptions = AS_SAMPLED) -> Tensor:
        """Run one chain of `scale` from `x` `(N, C, H, W)`, of any size; returns its end, of the same shape."""

    def ascend(
        self,
        x: Tensor,
        sizes: Sequence[Size],
        first: int = 0,
        options: ChainOptions = AS_SAMPLED,
        after: AfterStep | None = None,
    ) -> Iterator[Tensor]:
        """Run the chains of scales `first` to the last of `sizes` from `x` `(N, C, h, w)`; yields the end of each.

        Each starts from the resized end below it. `sizes` are those of scales 0 to the last one that is wanted.
        `after` is applied to the start of each chain too; `options.after` is not used.
        """

    def gradient(self, scale: int) -> Callable[[Tensor], Tensor]:
        """∇ₓ(-energy) at `scale`: maps `(N, C, H, W)` to the same shape."""

    def reconstruct(self) -> list[Tensor]:
        """The image reconstructed from its coarsest scale: `(1, C, *sizes[s])` for every scale."""

    def energy(self, image: Tensor, sizes: Sequence[Size] | None = None) -> list[Tensor]:
        """Energy of `image` `(1, C, h, w)` at every position and scale, `(H, W)` each; lower is more like the image.

        The image is resized to `sizes`, by default the trained ones.
        """

    def to(self, device: str | torch.device) -> Model:
        """The same model on another device."""

    def to_files(self) -> dict[str, bytes]:
        """The model as files: contents by name."""
