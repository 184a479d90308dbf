"""Work on a region of a picture: what harmonization and editing share. Outside it, all stays as it was, to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from pgcn.imaging.masks import blend, check_mask, difference, fit, grow, soft
from pgcn.imaging.scales import Size, resize
from pgcn.tasks.chains import injected, sizes_of, working_size
from pgcn.tasks.choose import Choice
from pgcn.tasks.enlarge import enlarged, resize_free
from pgcn.tasks.task import Injected, Inputs, TaskError, TaskResult

if TYPE_CHECKING:
    from pgcn.pyramid import Pyramid


class RegionOptions(Injected):
    """Options of the tasks that work on a region."""

    rim: int = Field(4, ge=0, le=64, description="pixels of the working size, outside the mask, that are blended")
    full_size: bool = Field(True, description="at the picture's own size, else at the pyramid's")


@dataclass(frozen=True)
class Region:
    """A picture at its working size, the mask and the rim's weights there, and all sizes that lead to it.

    `full` and `full_mask` are the picture and the mask as they were given.
    """

    full: Tensor
    full_mask: Tensor
    given: Tensor
    mask: Tensor
    weights: Tensor
    sizes: list[Size]
    rim: int

    def from_scale(self, pyramid: Pyramid, scale: int, seed: int, start: Tensor | None = None) -> Tensor:
        """The picture with its region made anew from `scale` on; what lies beyond the rim is held at every step.

        Chains begin from the picture, or from `start`, another of its size.
        """
        begin = self.given if start is None else start
        known = [resize(self.given, size) for size in self.sizes]
        free = [fit(grow(self.mask, self.rim), size) for size in self.sizes]

        def held(x: Tensor, at: int) -> Tensor:
            return blend(x, known[at], free[at])

        made = injected(pyramid, begin, scale, seed=seed, after=held, sizes=self.sizes)
        return blend(made, self.given, self.weights)

    @property
    def full_size(self) -> Size:
        """Of the picture as it was given."""
        return self.full.shape[-2], self.full.shape[-1]

    def recoloured(self, made: Tensor) -> Tensor:
        """The result at the picture's own size, its fine detail kept: what was changed, enlarged and added."""
        changed = self.full + resize_free(made - self.given, self.full_size)
        return self._into_full(changed.clamp(-1, 1))

    def replaced(self, pyramid: Pyramid, made: Tensor, seed: int) -> Tensor:
        """The result at the picture's own size, nothing kept of the region: the pyramid's patches, enlarged."""
        reached = grow(self.full_mask, self._full_rim)
        return self._into_full(enlarged(pyramid, made, self.full_size, seed=seed, only=reached))

    def _into_full(self, picture: Tensor) -> Tensor:
        return blend(picture, self.full, soft(self.full_mask, self._full_rim))

    @property
    def _full_rim(self) -> int:
        return round(self.rim * max(self.full_size) / max(self.given.shape[-2:]))

    def made(self, result: Tensor, choice: Choice, figures: dict[str, float], notes: list[str]) -> TaskResult:
        """What a task on a region made, with the figures and pictures that all of them have."""
        figures = {"start_scale": float(choice.best.scale), **figures, "outside_error": self.outside_error(result)}
        pictures = {"result": result, "before": self.full, "mask": mask_picture(self.full_mask)}
        return TaskResult({**pictures, "small": choice.best.picture, **choice.sheet()}, figures, notes)

    def outside_error(self, result: Tensor) -> float:
        """The largest change of any value beyond the rim, in levels of 255."""
        full = (result.shape[-2], result.shape[-1]) == self.full_size
        rim = self._full_rim if full else self.rim
        given, mask = (self.full, self.full_mask) if full else (self.given, self.mask)
        outside = (soft(mask, rim) == 0).float()
        return float(((result - given).abs() * outside).max()) * 127.5


def mask_of(inputs: Inputs, name: str) -> tuple[Tensor, list[str]]:
    """The mask, at the size of the picture that it is for, and notes of what was done to it. Raises `TaskError`."""
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
    return mask, [f"no mask was given: {float(mask.mean()):.1%} of the picture differs from the image, and is used"]


def needs_region(inputs: Inputs, name: str) -> None:
    """Raises `TaskError` where `mask_of` does."""
    mask_of(inputs, name)


def region_of(pyramid: Pyramid, inputs: Inputs, options: RegionOptions, name: str) -> tuple[Region, list[str]]:
    """The region that is asked for, and notes of what was done to get it.

    The picture is the target, or the image itself where there is none. A mask of another size is fitted; one that
    is missing is where target and image differ. Raises `TaskError` as `mask_of` does.
    """
    full = inputs.image if inputs.target is None else inputs.target
    mask, notes = mask_of(inputs, name)
    given = resize(full, working_size(full, pyramid))
    small = fit(check_mask(mask), (given.shape[-2], given.shape[-1]))
    region = Region(full, mask, given, small, soft(small, options.rim), sizes_of(full, pyramid), options.rim)
    return region, notes


def mask_picture(mask: Tensor) -> Tensor:
    """A mask as a picture to look at: `(1, 3, H, W)`, white where it is 1."""
    return (2 * mask - 1).expand(-1, 3, -1, -1)


def _words(x: Tensor) -> str:
    return f"{x.shape[-1]}x{x.shape[-2]}"
