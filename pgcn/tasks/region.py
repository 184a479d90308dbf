"""Tasks on a region of an image, the common part of harmonization and editing: all outside it stays the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import Field
from torch import Tensor

from pgcn.imaging.masks import blend, check_mask, difference, fit, grow, shrink, soft
from pgcn.imaging.scales import Size, resize
from pgcn.method import Model
from pgcn.tasks.chains import injected, seeded_noise, sizes_of, working_size
from pgcn.tasks.choose import Choice
from pgcn.tasks.enlarge import Refinement, enlarged, resize_free
from pgcn.tasks.task import Injected, Inputs, TaskError, TaskResult


class RegionOptions(Injected):
    """Options of the tasks that work on a region."""

    rim: int = Field(4, ge=0, le=64, description="width of the blended rim outside the mask, px of the working size")
    full_size: bool = Field(True, description="at the image's own size, else at the pyramid's")


@dataclass(frozen=True)
class Region:
    """An image at its working size, with the mask and the weights of the rim there, and the sizes of all scales.

    `full` and `full_mask` are the image and the mask at the given size.
    """

    full: Tensor
    full_mask: Tensor
    given: Tensor
    mask: Tensor
    weights: Tensor
    sizes: list[Size]
    rim: int

    def at(self, x: Tensor) -> Region:
        """The region at the size of `x`, a smaller image of it; the image at the given size stays."""
        size = x.shape[-2], x.shape[-1]
        if size == tuple(self.given.shape[-2:]):
            return self
        mask, rim = fit(self.mask, size), max(1, round(self.rim * size[0] / self.given.shape[-2]))
        return replace(self, given=resize(self.given, size), mask=mask, weights=soft(mask, rim), rim=rim)

    def from_scale(self, model: Model, scale: int, count: int, seed: int, start: Tensor | None = None) -> Tensor:
        """The image at the last of `count` scales, with its region remade from `scale` on.

        Pixels beyond the rim are clamped at every step. Chains begin from the image, or from `start`, which has its
        size.
        """
        begin, sizes = self.given if start is None else start, self.sizes[:count]
        known = [resize(self.given, size) for size in sizes]
        free = [fit(grow(self.mask, self.rim), size) for size in sizes]

        def clamp(x: Tensor, at: int) -> Tensor:
            return blend(x, known[at], free[at])

        made = injected(model, begin, scale, seeded_noise(seed), clamp, sizes)
        there = self.at(made)
        return blend(made, there.given, there.weights)

    @property
    def full_size(self) -> Size:
        """The size of the given image."""
        return self.full.shape[-2], self.full.shape[-1]

    def recoloured(self, made: Tensor, full_size: bool) -> Tensor:
        """The result at the given or the working size, with the fine detail of the given image.

        The change by `made`, an image of any size, is enlarged and added.
        """
        change = made - self.at(made).given
        if full_size:
            return self._into_full((self.full + resize_free(change, self.full_size)).clamp(-1, 1))
        size = self.given.shape[-2], self.given.shape[-1]
        return blend((self.given + resize_free(change, size)).clamp(-1, 1), self.given, self.weights)

    def replaced(self, model: Model, made: Tensor, seed: int) -> Tensor:
        """The result at the given size, with a region of the pyramid's patches alone, enlarged."""
        reached = grow(self.full_mask, self._full_rim)
        return self._into_full(enlarged(model, made, self.full_size, Refinement(seed=seed, only=reached)))

    def seam_only(self, result: Tensor) -> Tensor:
        """`result` within two rims of the mask's border, and the given image further inside, blended over a rim."""
        given, mask, rim = self._at_size_of(result)
        return blend(given, result, soft(shrink(mask, 2 * rim), rim))

    def _into_full(self, made: Tensor) -> Tensor:
        return blend(made, self.full, soft(self.full_mask, self._full_rim))

    @property
    def _full_rim(self) -> int:
        return round(self.rim * max(self.full_size) / max(self.given.shape[-2:]))

    def _at_size_of(self, result: Tensor) -> tuple[Tensor, Tensor, int]:
        """The image, the mask and the width of the rim at the size of a result: the given or the working size."""
        if (result.shape[-2], result.shape[-1]) == self.full_size:
            return self.full, self.full_mask, self._full_rim
        return self.given, self.mask, self.rim

    def made(self, result: Tensor, choice: Choice, metrics: dict[str, float], notes: list[str]) -> TaskResult:
        """The result of a task on a region, with the metrics and images that all such tasks have."""
        metrics = {"start_scale": float(choice.best.scale), **metrics, "outside_error": self.outside_error(result)}
        images = {"result": result, "before": self.full, "mask": mask_image(self.full_mask)}
        return TaskResult({**images, "small": choice.best.image, **choice.sheet()}, metrics, notes)

    def outside_error(self, result: Tensor) -> float:
        """The largest change of any value beyond the rim, in levels of 255."""
        given, mask, rim = self._at_size_of(result)
        outside = (soft(mask, rim) == 0).float()
        return float(((result - given).abs() * outside).max()) * 127.5


def mask_of(inputs: Inputs, name: str) -> tuple[Tensor, list[str]]:
    """The mask at the size of the image that it is for, and notes of how it was made. Raises `TaskError`."""
    full = inputs.image if inputs.target is None else inputs.target
    size = full.shape[-2], full.shape[-1]
    if inputs.mask is not None:
        if tuple(inputs.mask.shape[-2:]) == size:
            return inputs.mask, []
        return fit(inputs.mask, size), [f"the mask of {_words(inputs.mask)} px was fitted to {_words(full)} px"]
    if inputs.target is None:
        raise TaskError(f"The task {name} needs a mask, or a target that differs from the image where the mask is.")
    try:
        mask = difference(inputs.target, inputs.image)
    except ValueError as error:
        raise TaskError(f"The task {name} was given no mask, and {error}.") from None
    return mask, [f"no mask was given: {float(mask.mean()):.1%} of the target differs from the image, and is used"]


def needs_region(inputs: Inputs, name: str) -> None:
    """Raises `TaskError` where `mask_of` does."""
    mask_of(inputs, name)


def region_of(model: Model, inputs: Inputs, options: RegionOptions, name: str) -> tuple[Region, list[str]]:
    """The region that is asked for, and notes of how it was made.

    It is one of the target, or of the image itself where there is no target. A mask of another size is fitted; a
    missing one is made where target and image differ. Raises `TaskError` as `mask_of` does.
    """
    full = inputs.image if inputs.target is None else inputs.target
    mask, notes = mask_of(inputs, name)
    given = resize(full, working_size(full, model))
    small = fit(check_mask(mask), (given.shape[-2], given.shape[-1]))
    region = Region(full, mask, given, small, soft(small, options.rim), sizes_of(full, model), options.rim)
    return region, notes


def mask_image(mask: Tensor) -> Tensor:
    """A mask as an RGB image: `(1, C, H, W)`, white where it is 1."""
    return (2 * mask - 1).expand(-1, 3, -1, -1)


def _words(x: Tensor) -> str:
    return f"{x.shape[-1]}x{x.shape[-2]}"
