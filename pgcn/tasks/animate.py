"""A looping clip: a walk in the space of the samples' noise.

The noise keeps its distribution at every frame, so that each frame is a sample. With Gaussian a, b, c and w = walk, the
noise of frame t is √(1 - w²)·a + w·(cos θ·b + sin θ·c), θ = 2πt / frames; for scale 0 the normal distribution function
maps it to U(-1, 1), and chains with noise draw theirs in the same way at each step.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from pgcn.imaging.scales import Size, resize, sizes_for
from pgcn.method import ChainOptions, Model
from pgcn.tasks.chains import check_scale, run
from pgcn.tasks.task import Criterion, Inputs, Options, Task, TaskError, TaskResult


class AnimateOptions(Options):
    """Options of `animate`."""

    frames: int = Field(24, ge=2, le=1000, description="number of frames; the last leads back to the first")
    walk: float = Field(0.3, ge=0, le=1, description="share of the noise that changes: 0 none, 1 all of it")
    noise: float = Field(0.0, ge=0, le=1, description="σ of the noise of chains, which changes too")
    start_scale: int = Field(0, ge=0, description="above 0, chains begin there from the reconstructed image")
    width: int | None = Field(None, ge=12, le=4096, description="of the frames, px, with `height`")
    height: int | None = Field(None, ge=12, le=4096, description="of the frames, px, with `width`")


class Walk:
    """Noise for all frames: each call draws a new circle of noise, the same for the same seed."""

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


def apply(model: Model, inputs: Inputs, options: AnimateOptions) -> TaskResult:
    """Frames of a loop, `(frames, C, H, W)`."""
    if (options.width is None) != (options.height is None):
        raise TaskError("a size is a width and a height.")
    first = check_scale(model, options.start_scale)
    size: Size = (options.height or model.sizes[-1][0], options.width or model.sizes[-1][1])
    sizes = sizes_for(size, model.sizes)
    walk = Walk(options.frames, options.walk, options.seed)

    if first == 0:
        start = walk.uniform((1, *sizes[0])).expand(-1, model.channels.count, -1, -1).to(model.device)
    else:
        below = resize(model.reconstruct()[first - 1], sizes[first])
        start = (below + 0.1 * walk.normal((model.channels.count, *sizes[first])).to(model.device)).clamp(-1, 1)

    def draw(x: Tensor) -> Tensor:
        return walk.normal(tuple(x.shape[1:])).to(x)

    x = run(model, start, sizes, first, ChainOptions(noise_std=options.noise, draw=draw, frames=True))
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
    criterion=Criterion("frame_step", "frames_apart", "lower"),
    clip=True,
)
