"""A pyramid with learned scales and, above them, exact ones: sampling, chains, gradients and energies.

A method's own pyramid says what one learned scale does; all else is the same for all methods.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from pgcn.exact.draw import resized
from pgcn.exact.scales import ExactScales
from pgcn.generator import Sampling
from pgcn.imaging.channels import RGB, Channels, unit_rule
from pgcn.imaging.noise import noise_start, normal_each, seeded
from pgcn.imaging.normals import UnitNormals, applied, then
from pgcn.imaging.scales import Size, ascend, check_image, exact_sizes, resize, resize_on_torus, sizes_for
from pgcn.method import AS_SAMPLED, AfterStep, ChainOptions
from pgcn.settings import PyramidSettings
from pgcn.tasks.methods import TaskMethods

BATCH, BATCH_PIXELS = 16, 2**20
"""Most samples in a batch, and most pixels of all of them: bounds of memory, which change samples only by rounding."""


def exact_scales(
    image: Tensor, settings: PyramidSettings, known: Tensor | None = None, channels: Channels = RGB
) -> ExactScales | None:
    """The exact scales of `image` `(1, C, H, W)`, at its own size; None where all scales are learned.

    `known` `(1, 1, H, W)` is 1 where patches may come from; None: everywhere.
    """
    above = exact_sizes(image.shape[2], image.shape[3], settings)
    return ExactScales.of(image, above, settings, known, channels) if above else None


class LearnedPyramid(TaskMethods, ABC):
    """The energy functions of one image, scale 0 the coarsest: a `pgcn.method.Model`.

    `sizes` are the sizes (height, width) of all scales, px, `observed` is the image at scale 0, `(1, C, H₀, W₀)` in
    [-1, 1], and `exact` has the exact scales, which come after the learned ones. `channels` describes the C channels of
    its images.

    A subclass says what a learned scale does: `chain`, `learned_gradient`, `learned_energy`, how a reconstruction
    starts and runs (`recovery`), and its files.
    """

    settings: PyramidSettings
    seed: int
    sizes: list[Size]
    observed: Tensor
    exact: ExactScales | None
    channels: Channels

    # Abstract: each method's own part.

    @property
    @abstractmethod
    def parameters(self) -> int:
        """The number of learned parameters of all scales."""

    @property
    @abstractmethod
    def learned(self) -> int:
        """The number of learned scales; those above are exact."""

    @property
    @abstractmethod
    def halo(self) -> int:
        """Distance, px, up to which a pixel's gradient depends on other pixels."""

    @abstractmethod
    def chain(self, x: Tensor, scale: int, options: ChainOptions) -> Tensor:
        """Run one chain of a learned scale from `x` `(N, C, H, W)`; its end has the same shape."""

    @abstractmethod
    def learned_gradient(self, scale: int) -> Callable[[Tensor], Tensor]:
        """∇ₓ(-energy) of a learned scale: maps `(N, C, H, W)` to the same shape."""

    @abstractmethod
    def learned_energy(self, x: Tensor, scale: int) -> Tensor:
        """The energy of `x` `(1, C, H, W)` at every position of a learned scale, `(H, W)`."""

    @abstractmethod
    def recovery(self) -> tuple[Tensor, ChainOptions]:
        """The start of a reconstruction, `(1, C, h, w)`, and the options of its chains."""

    @abstractmethod
    def to_files(self) -> dict[str, bytes]:
        """The pyramid as files, contents by name: `scale-<s>.safetensors`, and `image.safetensors` of exact scales."""

    # The same for all methods.

    @property
    def device(self) -> torch.device:
        """The device of the weights, where inputs have to be."""
        return self.observed.device

    @cached_property
    def _rule(self) -> UnitNormals | None:
        """The rule that normals have unit length; None for an image without normals."""
        return unit_rule([self.channels])

    @property
    def samplings(self) -> tuple[Sampling, ...]:
        """The ways of drawing samples at the learned scales that this pyramid has."""
        return ("chain",)

    @property
    def sampling(self) -> Sampling:
        """The way of drawing samples from noise; those from a `start_scale` above 0 are drawn by chains."""
        chosen: Sampling = getattr(self.settings, "sampling", "chain")
        return chosen

    def with_sampling(self, sampling: str) -> Self:
        """The same pyramid, whose samples are drawn in another way. Raises `ValueError` for one that it does not have.

        It is a pyramid of other settings: its files say so.
        """
        if sampling not in self.samplings:
            raise ValueError(f"this pyramid draws samples by {' or '.join(self.samplings)}, not by {sampling}")
        own: Any = self
        changed: Self = replace(own, settings=self.settings.model_copy(update={"sampling": sampling}))
        return self if sampling == self.sampling else changed

    def sample(
        self,
        n: int = 1,
        size: Size | None = None,
        *,
        seed: int = 0,
        start_scale: int = 0,
        start: Tensor | None = None,
    ) -> Tensor:
        """Draw `n` samples: `(n, C, H, W)` in [-1, 1].

        `size` is (H, W), any size and aspect ratio; by default the trained one. Sample i depends on `seed` + i alone,
        except for rounding. A `start_scale` above 0 begins there from `start`, an image `(1, C, h, w)`, or from the
        reconstructed image: samples are nearer to the image, and less diverse.

        Raises `ValueError` for an impossible size or scale.
        """
        batches = self.samples(n, size, seed=seed, start_scale=start_scale, start=start)
        return torch.cat([stages[-1] for stages in batches])

    def samples(
        self,
        n: int,
        size: Size | None = None,
        *,
        seed: int = 0,
        start_scale: int = 0,
        start: Tensor | None = None,
    ) -> Iterator[list[Tensor]]:
        """As `sample`, in batches of bounded memory: for each batch, the chains' ends at every scale, finest last."""
        if n < 1:
            raise ValueError(f"the number of samples is 1 or more, not {n}")
        if not 0 <= start_scale < len(self.sizes):
            raise ValueError(f"start_scale is 0 to {len(self.sizes) - 1} for this pyramid, not {start_scale}")
        output = size or self.sizes[-1]
        if min(output) < 1:
            raise ValueError(f"a size has at least one pixel a side, not {output[0]}x{output[1]}")
        sizes = sizes_for(output, self.sizes)
        together = max(1, min(BATCH, BATCH_PIXELS // (output[0] * output[1])))
        return (
            self._batch(seeded(seed + at, min(together, n - at)), sizes, start_scale, start)
            for at in range(0, n, together)
        )

    def _batch(
        self, generators: list[torch.Generator], sizes: list[Size], start_scale: int, start: Tensor | None
    ) -> list[Tensor]:
        draw = normal_each(generators)
        from_noise = start_scale == 0 and start is None
        if from_noise:
            begin = noise_start(sizes[0], generators, channels=self.channels.count).to(self.device)
        else:
            begin = (
                check_image(start, self.channels.count).to(self.device)
                if start is not None
                else self._below(start_scale)
            )
            begin = begin.expand(len(generators), -1, -1, -1)
            # A little noise, without which all chains from one start would end at the same image.
            noise = draw(resize(begin, sizes[start_scale]))
            begin = (resize(begin, sizes[start_scale]) + 0.1 * noise).clamp(-1, 1)
        return list(self.ascend(begin, sizes, start_scale, ChainOptions(draw=draw, from_noise=from_noise)))

    def ascend(
        self,
        x: Tensor,
        sizes: Sequence[Size],
        first: int = 0,
        options: ChainOptions = AS_SAMPLED,
        after: AfterStep | None = None,
    ) -> Iterator[Tensor]:
        """The results of scales `first` to the last of `sizes`, as `pgcn.method.Model`; exact ones carry matches."""
        options = replace(options, draw=options.draw or normal_each(seeded(0, len(x))))
        learned, rule = self.learned, self._rule

        def clamp(state: Tensor, scale: int) -> Tensor:
            return applied(rule, state if after is None else after(state, scale))

        def chain(y: Tensor, scale: int) -> Tensor:
            if after is None:
                return self.refine(applied(rule, y), scale, options)
            return self.refine(clamp(y, scale), scale, replace(options, after=lambda state: after(state, scale)))

        def learned_ends(start: Tensor) -> Iterator[Tensor]:
            return ascend(start, sizes[:learned], chain, first, resize_on_torus if options.wrap else resize)

        with_detail = self.exact is not None and len(sizes) > learned
        several = options.from_noise and with_detail and self.settings.layouts > 1
        for end in self._least(x, learned_ends, options) if several else learned_ends(x):
            x = end
            yield end
        if self.exact is None or len(sizes) <= max(first, learned):
            return
        above = max(first - learned, 0)
        if first > learned or (first == learned and tuple(x.shape[-2:]) != tuple(sizes[first - 1])):
            x = applied(rule, resized(x, sizes[first - 1], options.wrap))

        def clamp_exact(state: Tensor, scale: int) -> Tensor:
            return clamp(state, scale + learned)

        if first == 0:
            x = self.exact.settled(x, self.sizes[learned - 1], options, lambda state: clamp_exact(state, -1))
        clamped = None if after is None and rule is None else clamp_exact
        for end in self.exact.ascend(x, sizes[learned + above :], above, options, clamped):
            yield applied(rule, end)  # a scale without steps is a plain resize

    def _least(self, x: Tensor, ends: Callable[[Tensor], Iterator[Tensor]], options: ChainOptions) -> Iterator[Tensor]:
        """The ends at the learned scales of `settings.layouts` layouts for each state: of the least exact energy.

        The first layout begins at `x` `(N, C, h, w)`, the others at noise like it.
        """
        assert self.exact is not None and options.draw is not None
        size = self.sizes[self.learned - 1]
        best = list(ends(x))
        least = self.exact.layout_energies(best[-1], size)
        for _ in range(self.settings.layouts - 1):
            # The distribution function of a normal number is uniform: gray noise U(-1, 1), as `noise_start`.
            gray = torch.erf(options.draw(x[:, :1]) / math.sqrt(2))
            others = list(ends(gray.expand_as(x)))
            energies = self.exact.layout_energies(others[-1], size)
            better = (energies < least)[:, None, None, None]
            best = [torch.where(better, other, end) for other, end in zip(others, best, strict=True)]
            least = torch.minimum(least, energies)
        yield from best

    def _below(self, scale: int) -> Tensor:
        """The start of the reconstruction at `scale`, before it is resized."""
        return self.observed if scale == 0 else self._reconstructed(scale)[-1]

    def refine(self, x: Tensor, scale: int, options: ChainOptions = AS_SAMPLED) -> Tensor:
        """Run one chain of `scale` from `x` `(N, C, H, W)` in [-1, 1], of any size; its end has the same shape.

        At an exact scale the detail of `x` is drawn again, and its low frequencies stay.
        """
        options = replace(options, after=then(options.after, self._rule))
        if scale < self.learned:
            return self.chain(x, scale, options)
        assert self.exact is not None
        (height, width), (h, w) = self.sizes[scale - 1], self.sizes[scale]
        below = max(1, round(x.shape[2] * height / h)), max(1, round(x.shape[3] * width / w))
        return self.exact.refine(x, scale - self.learned, below, options)

    def gradient(self, scale: int) -> Callable[[Tensor], Tensor]:
        """∇ₓΣf, which is ∇ₓ(-energy), at `scale`: maps `(N, C, H, W)` in a zero border to the same shape."""
        if scale >= self.learned:
            exact, above = self.exact, scale - self.learned
            assert exact is not None
            return lambda x: exact.gradient(x, above)
        return self.learned_gradient(scale)

    def reconstruct(self) -> list[Tensor]:
        """The image reconstructed from its coarsest scale by chains without noise: `(1, C, *sizes[s])` for each s."""
        return self._reconstructed(len(self.sizes))

    def _reconstructed(self, scales: int) -> list[Tensor]:
        start, options = self.recovery()
        ends = list(self.ascend(start, self.sizes[: min(scales, self.learned)], 0, options))
        if scales > self.learned:
            ends += self.ascend(ends[-1], self.sizes[:scales], self.learned)
        return ends

    def observed_scales(self) -> list[Tensor]:
        """The image at every exact scale, `(1, C, *sizes[s])`; empty without exact scales."""
        return [] if self.exact is None else self.exact.observed()

    def energy(self, image: Tensor, sizes: Sequence[Size] | None = None) -> list[Tensor]:
        """The energy -f of `image` `(1, C, h, w)` at every position and scale: `(H, W)` each.

        Lower is more like the trained image's patches. The image is resized to `sizes`, by default the trained ones.
        """
        image = check_image(image, self.channels.count).to(self.device)
        scaled = [applied(self._rule, resize(image, size)) for size in sizes or self.sizes]
        with torch.no_grad():
            maps = [self.learned_energy(each, at) for at, each in enumerate(scaled[: self.learned])]
            if self.exact is not None:
                maps += [self.exact.energy(each, scale) for scale, each in enumerate(scaled[self.learned :])]
        return maps

    def save(self, path: str | Path) -> None:
        """Write the files to a folder, which is created where it does not exist."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.to_files().items():
            (folder / name).write_bytes(data)
