"""All exact scales of one image: layouts in, pictures out, each twice the size of the one before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from pgcn.exact.candidates import Queries, carried, exhaustive, improve
from pgcn.exact.definition import log_density
from pgcn.exact.draw import Held, Hold, Way, draw_scale, known_at, noise_scale, resized
from pgcn.exact.field import Field
from pgcn.exact.patches import Patches, patches_of
from pgcn.exact.settings import DetailSettings
from pgcn.imaging.normals import Project, applied
from pgcn.imaging.scales import Size, resize

COMPARISONS = 50_000_000
"""Pairs of patches up to which an energy is that of the definition."""

SCALES = 64
"""More than there are scales: seeds of a sample's scales differ by less."""


class Drawn(NamedTuple):
    """Pictures `(n, C, H, W)` in [-1, 1], and for each where it comes from in the image."""

    picture: Tensor
    fields: list[Field]


@dataclass(frozen=True, eq=False)
class Ascent:
    """The order and options of drawn scales, one after the other, from the scale `first` on.

    `levels` are the noise levels of each scale, by default those of the settings. `after` maps a start or an estimate
    `(1, C, H, W)` and its scale to the one that is kept: it clamps known pixels, for example. With `frames`, pictures
    are frames of a clip: the search for the matches of one begins with those of the frame before.
    """

    first: int = 0
    levels: list[float] | None = None
    after: Callable[[Tensor, int], Tensor] | None = None
    wrap: bool = False
    frames: bool = False

    def clamped(self, x: Tensor, scale: int) -> Tensor:
        """`x` after `after`."""
        return x if self.after is None else self.after(x, scale)

    def held(self, hold: Hold, scale: int) -> Held:
        """`hold`, then `after`."""
        if self.after is None:
            return hold
        return lambda estimate, wrap, last: self.clamped(hold(estimate, wrap, last), scale)


class ExactDetail:
    """The exact energies of an image `(1, C, H, W)` in [-1, 1] at `sizes`, coarsest first.

    `known` `(1, 1, H, W)`: 1 where patches may come from, where not all may. Nothing but the image is kept: the patches
    of a scale are made when it is first used, 140 bytes a pixel.
    `rule` is applied to the image at each scale: normals of unit length.

    Raises `ValueError` where there is no size, or no known pixel.
    """

    def __init__(
        self,
        image: Tensor,
        sizes: list[Size],
        settings: DetailSettings | None = None,
        known: Tensor | None = None,
        rule: Project | None = None,
    ) -> None:
        if not sizes:
            raise ValueError("exact detail needs at least one size")
        self.settings = settings or DetailSettings()
        self.sizes = [(int(h), int(w)) for h, w in sizes]
        self._image, self._known, self._rule = image, known, rule
        self._patches: dict[int, Patches] = {}
        self._layout: ExactDetail | None = None

    def patches(self, scale: int) -> Patches:
        """The image's patches at a scale, made when first needed."""
        if scale not in self._patches:
            size, s = self.sizes[scale], self.settings
            known = None if self._known is None else known_at(self._known, size).float()
            image = applied(self._rule, resize(self._image, size))
            self._patches[scale] = patches_of(image, s.patch, s.components, known, s.band)
        return self._patches[scale]

    def by_distance(self) -> ExactDetail:
        """The same energies without completeness, for pictures whose content is given.

        There some patches rightly fit nowhere: preferred, they would draw joints into the flat parts of a larger wall.
        """
        settings = replace(self.settings, completeness=math.inf)
        same = ExactDetail(self._image, self.sizes, settings, self._known, self._rule)
        same._patches = self._patches
        return same

    def at_layout(self, size: Size) -> ExactDetail:
        """The exact energy of the image at one small size, of patches of `settings.layout_patch`, or of `patch`."""
        if self._layout is None or self._layout.sizes != [size]:
            settings = replace(self.settings, patch=self.settings.layout_patch or self.settings.patch)
            self._layout = ExactDetail(self._image, [size], settings, self._known, self._rule)
        return self._layout

    def draw(self, layouts: Tensor, sizes: list[Size], seeds: Sequence[int], *, wrap: bool = False) -> Iterator[Drawn]:
        """Pictures from `layouts` `(n, C, h, w)`, with detail added scale by scale, coarsest first.

        `sizes` are the output's sizes, one for each exact scale, of any aspect: those of the image for a picture of its
        size. Picture i depends on its layout and `seeds[i]` alone. With `wrap` opposite borders fit together.

        Raises `ValueError` where the numbers of sizes or seeds do not fit.
        """
        if len(sizes) != len(self.sizes) or len(seeds) != len(layouts):
            raise ValueError(
                f"{len(self.sizes)} exact scales and {len(layouts)} layouts need as many sizes and seeds, "
                f"not {len(sizes)} and {len(seeds)}"
            )
        return self.ascend(layouts, sizes, seeds, Ascent(wrap=wrap))

    def ascend(self, x: Tensor, sizes: Sequence[Size], seeds: Sequence[int], way: Ascent) -> Iterator[Drawn]:
        """As `draw`, from the scale `way.first` on, for as many scales as there are `sizes`.

        Low frequencies of the first one are held to `x` `(n, C, h, w)`, which is smaller.
        """
        fields: list[Field | None] = [None] * len(seeds)
        for scale, size in enumerate(sizes, way.first):
            drawn: list[tuple[Tensor, Field]] = []
            for i, seed in enumerate(seeds):
                begin = fields[i]
                if way.frames and drawn:
                    begin = drawn[-1][1].copy()
                elif begin is not None:
                    begin = carried(begin, self.sizes[scale - 1], self.sizes[scale], size)
                drawn.append(self._at(x[i : i + 1], scale, size, seed, way, begin))
            x, fields = _together([picture for picture, _ in drawn]), [field for _, field in drawn]
            yield Drawn(x, [field for _, field in drawn])

    def _at(
        self, below: Tensor, scale: int, size: Size, seed: int, ascent: Ascent, field: Field | None
    ) -> tuple[Tensor, Field]:
        """One picture at one scale, from the one below it, with its matches; the coarsest scale settles."""
        way = Way(ascent.levels or self.settings.levels(), _seed(seed, scale), ascent.wrap)
        start = ascent.clamped(resized(below, size, ascent.wrap), scale)
        if field is None and scale > 0:
            field = self.matches(start, scale, seed=seed, wrap=ascent.wrap)
        y = self._noised(start, way)
        del start  # pictures may be large: nothing stays that is not needed
        made = self._draw(y, scale, way, ascent.held(Hold(below), scale), field)
        return self._settled(*made, way, ascent) if scale == 0 and ascent.levels is None else made

    def _settled(self, x: Tensor, field: Field, way: Way, ascent: Ascent) -> tuple[Tensor, Field]:
        """A picture of the coarsest scale, drawn again without a hold: what no patch agrees with moves or goes."""
        for number in range(self.settings.settle):
            again = Way(self.settings.levels(self.settings.settle_noise), way.seed + 1 + number, way.wrap)
            x, field = self._draw(self._noised(x, again), 0, again, ascent.held(Hold(), 0), field)
        return x, field

    @staticmethod
    def _noised(start: Tensor, way: Way) -> Tensor:
        """(1 - t)·`start` + t·ε at the first noise level of `way`."""
        generator = torch.Generator().manual_seed(way.seed)
        # From the CPU: a seed gives one picture on all devices. A copy from pinned memory waits for no kernel.
        noise = torch.randn(start.shape, generator=generator, dtype=start.dtype, pin_memory=start.is_cuda)
        noise = noise.to(start.device, non_blocking=True)
        noise *= noise_scale(start.shape[1])
        return noise.mul_(way.levels[0]).add_(start, alpha=1 - way.levels[0])

    def _draw(self, y: Tensor, scale: int, way: Way, hold: Held, field: Field | None) -> tuple[Tensor, Field]:
        # Coherence at the coarsest scale would cut things where they could bend.
        settings = replace(self.settings, coherence=0.0) if scale == 0 else self.settings
        return draw_scale(self.patches(scale), settings, y, way, hold, field)

    def refine(
        self,
        x: Tensor,
        scale: int,
        *,
        noise: float | None = None,
        steps: int | None = None,
        hold: Held | None = None,
        seed: int = 0,
        fields: Sequence[Field] | None = None,
        wrap: bool = False,
    ) -> Drawn:
        """Pictures `x` `(n, C, H, W)`, of any size, drawn again with the patches of one scale.

        `noise` in (0, 1) is the level that the first of `steps` begins at: how much may change (default: as in `draw`).
        `hold` says what stays: low frequencies, known pixels. `fields` are matches to begin with, as of the frame
        before; without them they are searched for, coarse to fine. Picture i depends on `x[i]` and `seed` + i alone.
        """
        drawn = []
        for i in range(len(x)):
            start = x[i : i + 1]
            field = fields[i].copy() if fields is not None else self.matches(start, scale, seed=seed + i, wrap=wrap)
            way = Way(self.settings.levels(noise, steps), _seed(seed + i, scale), wrap)
            drawn.append(self._draw(self._noised(start, way), scale, way, hold or Hold(), field))
        return Drawn(_together([picture for picture, _ in drawn]), [field for _, field in drawn])

    def matches(self, picture: Tensor, scale: int, *, seed: int = 0, wrap: bool = False) -> Field:
        """Matches of the patches of `picture` `(1, C, H, W)` at a scale, searched from the coarsest scale on."""
        height, width = picture.shape[2:]
        field = None
        for s in range(scale + 1):
            factor = self.sizes[s][0] / self.sizes[scale][0], self.sizes[s][1] / self.sizes[scale][1]
            size = max(1, round(height * factor[0])), max(1, round(width * factor[1]))
            patches = self.patches(s)
            queries = Queries(patches, resized(picture, size, wrap), 1.0, wrap, self.settings.band)
            if field is None or size[0] * size[1] * len(patches.keys) <= self.settings.exhaustive:
                field = exhaustive(queries, self.settings)
                continue
            field = carried(field, self.sizes[s - 1], self.sizes[s], size)
            least = torch.zeros(len(patches.keys), dtype=picture.dtype, device=picture.device)
            improve(queries, field, self.settings, _seed(seed, s), least)
        assert field is not None
        return field

    def energy(self, picture: Tensor, scale: int, t: float = 0.1) -> Tensor:
        """-f_t of every patch of `picture` `(1, C, H, W)`, `(H, W)`: lower is more like the image.

        By the definition where all patches can be compared. In large pictures each patch is compared with its matches
        alone: at small t they are what the sum over all patches is made of; the map lies at or above the exact one.
        """
        patches = self.patches(scale)
        if picture.shape[2] * picture.shape[3] * len(patches.keys) <= COMPARISONS and patches.snap is None:
            return -log_density(picture, patches.image, t, self.settings.patch)
        field = self.matches(picture, scale)
        queries = Queries(patches, picture, 1 - t, False, self.settings.band)
        found = []
        for first, last in queries.bands():
            keys = patches.keys[field.index[first:last].flatten(0, 1).long()]
            apart = (queries.of(first, last)[:, None] - (1 - t) * keys).square().sum(2)
            found.append((apart / (-2 * t * t)).logsumexp(1))
        return -torch.cat(found).view(field.size)


def _together(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures `(1, C, H, W)` as `(n, C, H, W)`; a single one itself, which may be large."""
    return pictures[0] if len(pictures) == 1 else torch.cat(list(pictures))


def _seed(seed: int, scale: int) -> int:
    """A seed for each scale of each sample, and for each step of its search; any whole number may be given."""
    return ((seed * SCALES + scale) * SCALES) % 2**63
