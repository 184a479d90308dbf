"""A looping clip: a walk in the noise that samples are made of.

The walk keeps the noise's own law at every frame, so that each frame is a sample. With Gaussian a, b, c and
w = walk, the noise of frame t is √(1 - w²)·a + w·(cos θ·b + sin θ·c), θ = 2πt / frames; scale 0 takes it through the
normal's distribution function to U(-1, 1), and chains with noise draw theirs in the same way at each step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import Size, resize, sizes_for
from pgcn.tasks.chains import chain, check_scale
from pgcn.tasks.task import Criterion, Inputs, Options, Task, TaskError, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class AnimateOptions(Options):
    """Options of `animate`."""

    frames: int = Field(24, ge=2, le=1000, description="of the loop; the last leads back to the first")
    walk: float = Field(0.3, ge=0, le=1, description="how far the noise walks: 0 stands still, 1 all of it changes")
    noise: float = Field(0.0, ge=0, le=1, description="σ of the chain's noise, which walks too")
    start_scale: int = Field(0, ge=0, description="above 0, chains begin there from the recovered image and noise")
    width: int | None = Field(None, ge=12, le=4096, description="of the frames, px, with `height`")
    height: int | None = Field(None, ge=12, le=4096, description="of the frames, px, with `width`")


class Walk:
    """Noise for all frames: each call draws a new place to walk around, the same for the same seed."""

    def __init__(self, frames: int, walk: float, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        angles = torch.arange(frames) * (2 * math.pi / frames)
        self.weights = torch.stack(
            [torch.full_like(angles, math.sqrt(1 - walk**2)), walk * angles.cos(), walk * angles.sin()]
        )

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal noise of one frame's `shape`, for every frame: `(frames, *shape)`."""
        places = torch.randn(3, *shape, generator=self.generator)
        return torch.einsum("kf,k...->f...", self.weights, places)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """The same as U(-1, 1): 2Φ(·) - 1."""
        return torch.erf(self.normal(shape) / math.sqrt(2))


def apply(pyramid: Pyramid, inputs: Inputs, options: AnimateOptions) -> TaskResult:
    """Frames of a loop, `(frames, 3, H, W)`."""
    if (options.width is None) != (options.height is None):
        raise TaskError("a size is a width and a height.")
    first = check_scale(pyramid, options.start_scale)
    size: Size = (options.height or pyramid.sizes[-1][0], options.width or pyramid.sizes[-1][1])
    sizes = sizes_for(size, pyramid.sizes)
    walk = Walk(options.frames, options.walk, options.seed)
    device = pyramid.observed.device

    if first == 0:
        start = walk.uniform((1, *sizes[0])).expand(-1, 3, -1, -1).to(device)
    else:
        below = resize(pyramid.recover()[first - 1], sizes[first])
        start = (below + 0.1 * walk.normal((3, *sizes[first])).to(device)).clamp(-1, 1)

    def draw(x: Tensor) -> Tensor:
        return walk.normal(tuple(x.shape[1:])).to(x)

    x = start
    for scale in range(first, len(pyramid.nets)):
        x = chain(
            resize(x, sizes[scale]), pyramid.nets[scale], pyramid.settings, scale, noise_std=options.noise, draw=draw
        )
    step, apart = differences(x)
    return TaskResult({"result": x}, {"frame_step": step, "frames_apart": apart, "smoothness": apart / max(step, 1e-9)})


def differences(frames: Tensor) -> tuple[float, float]:
    """Root mean squared difference of neighbouring frames, and of frames half a loop apart, in levels of 255."""

    def mean(shift: int) -> float:
        return float((frames - frames.roll(-shift, 0)).square().mean().sqrt()) * 127.5

    return mean(1), mean(len(frames) // 2)


TASK = Task(
    name="animate",
    summary="a short looping clip: a walk in the noise that samples are made of",
    options=AnimateOptions,
    apply=apply,
    judged=Criterion("frame_step", "frames_apart", "lower"),
    clip=True,
)
