"""The exact scales of a pyramid, above its learned ones: sampling, single scales, energies and their file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pgcn.exact import definition
from pgcn.exact.cascade import Ascent, ExactDetail
from pgcn.exact.draw import Held, Hold, known_at, resized
from pgcn.exact.settings import DetailSettings
from pgcn.imaging.channels import RGB, Channels, unit_rule
from pgcn.imaging.noise import Draw, normal_each, seeded
from pgcn.imaging.normals import Project, applied
from pgcn.imaging.scales import Size, finest_size, resize
from pgcn.method import AS_SAMPLED, AfterStep, ChainOptions
from pgcn.settings import PyramidSettings
from pgcn.tensor_files import read_header, read_tensors, to_bytes

FILE = "image.safetensors"


@dataclass(frozen=True, eq=False)
class ExactScales:
    """The exact energies of one image at `sizes` (height, width), px, coarsest first.

    `image` `(1, C, H, W)` is the image at the finest size: of RGB in 8 bits uint8, else float32 in [-1, 1]. `known`
    `(1, 1, H, W)`, uint8, is 1 where patches may come from; None: everywhere. `rule` keeps normals at
    unit length; None: there are none.
    """

    image: Tensor
    known: Tensor | None
    sizes: list[Size]
    settings: DetailSettings
    rule: Project | None = None

    @staticmethod
    def of(
        image: Tensor,
        sizes: list[Size],
        settings: PyramidSettings,
        known: Tensor | None = None,
        channels: Channels = RGB,
    ) -> ExactScales:
        """The exact scales of `image` `(1, C, h, w)` in [-1, 1], at any size, and of `known` `(1, 1, h, w)`."""
        rule = unit_rule([channels])
        finest = applied(rule, resize(image, finest_size(image.shape[2], image.shape[3], settings)))
        if channels.is_rgb:
            finest = finest.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        if known is not None:
            known = known_at(known, sizes[-1]).to(torch.uint8)
        return ExactScales(finest, known, sizes, _settings(settings), rule)

    @cached_property
    def detail(self) -> ExactDetail:
        """The patches of the image, made at first use."""
        known = None if self.known is None else self.known.float()
        return ExactDetail(self._image(), self.sizes, self.settings, known, self.rule)

    def _image(self) -> Tensor:
        image = self.image.to(torch.get_default_dtype())
        return image / 127.5 - 1 if self.image.dtype == torch.uint8 else image

    def observed(self) -> list[Tensor]:
        """The image at every exact scale: `(1, C, *sizes[s])` in [-1, 1]."""
        return [applied(self.rule, resize(self._image(), size)) for size in self.sizes]

    def ascend(
        self,
        x: Tensor,
        sizes: Sequence[Size],
        first: int = 0,
        options: ChainOptions = AS_SAMPLED,
        after: AfterStep | None = None,
    ) -> Iterator[Tensor]:
        """Draw the exact scales from `first` on above `x` `(N, C, h, w)`: yields `(N, C, *size)` for each of `sizes`.

        Low frequencies of a scale are held to the result below it, those of the first one to `x`. Matches are carried
        from scale to scale, and with `options.frames` from state to state. State i depends on `x[i]` and its own random
        numbers alone, without `frames`. `after` maps states and their scale to the states that are kept.
        """
        levels = None
        if options.steps is not None or options.last is not None:
            levels = _levels(self.settings, options)
            if len(levels) < 2:
                yield from (resized(x, size, options.wrap) for size in sizes)
                return
        seeds = _seeds(x, options.draw or normal_each(seeded(0, len(x))))
        if options.frames:
            seeds = seeds[:1] * len(x)
        way = Ascent(first, levels, after, options.wrap, options.frames)
        for drawn in self.detail.ascend(x, sizes, seeds, way):
            yield drawn.picture

    def layout_energies(self, x: Tensor, layout: Size) -> Tensor:
        """The mean energy of each layout `x` `(N, C, h, w)`, by the image's patches at the size `layout`: `(N,)`."""
        detail = self.detail.at_layout(layout)
        return torch.stack([detail.energy(each, 0).mean() for each in x.split(1)])

    def settled(
        self,
        x: Tensor,
        layout: Size,
        options: ChainOptions = AS_SAMPLED,
        after: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Layouts `x` `(N, C, h, w)` drawn again at their own size, where the settings have a `layout_patch`.

        Learned chains of few pixels leave half objects and broken lines. Here each becomes one that patches of the
        image, reduced to the size `layout`, agree with. `after` maps estimates to those that are kept. Chains with a
        number of steps of their own keep their layout, and so do frames, which would move apart.
        """
        s = self.settings
        if s.layout_patch == 0 or options.frames or options.steps is not None or options.last is not None:
            return x
        detail = self.detail.at_layout(layout)
        hold, seeds = _held(Hold(), after), _seeds(x, options.draw or normal_each(seeded(0, len(x))))
        drawn = [
            detail.refine(
                one, 0, noise=s.layout_noise, steps=s.layout_steps, hold=hold, seed=seed, wrap=options.wrap
            ).picture
            for one, seed in zip(x.split(1), seeds, strict=True)
        ]
        return torch.cat(drawn)

    def refine(self, x: Tensor, scale: int, below: Size, options: ChainOptions = AS_SAMPLED) -> Tensor:
        """Draw `x` `(N, C, H, W)` in [-1, 1], of any size, again with the patches of one scale.

        Its low frequencies, as an image of the size `below`, are kept. `options.steps` is the number of steps of
        falling noise; with `options.last` only the last ones, at little noise, change the image. `options.noise_std` is
        of learned scales alone.
        """
        levels = _levels(self.settings, options)
        if len(levels) < 2:
            return x
        draw, noise, steps = options.draw or normal_each(seeded(0, len(x))), levels[0], len(levels) - 1
        drawn, detail = [], self.detail.by_distance()
        for start, seed in zip(x.split(1), _seeds(x, draw), strict=True):
            hold = _held(Hold(resized(start, below, options.wrap)), options.after)
            again = detail.refine(start, scale, noise=noise, steps=steps, hold=hold, seed=seed, wrap=options.wrap)
            drawn.append(again.picture)
        return torch.cat(drawn)

    def energy(self, image: Tensor, scale: int) -> Tensor:
        """-f_t of `image` `(1, C, H, W)` at every position, `(H, W)`; lower is more like the image's patches."""
        return self.detail.energy(image, scale)

    def gradient(self, x: Tensor, scale: int, t: float = 0.1) -> Tensor:
        """∇f_t at `x` `(N, C, H, W)`, by the definition: its cost is the product of the pixels of both images."""
        own = applied(self.rule, resize(self._image(), self.sizes[scale]))
        return torch.cat([definition.gradient(each, own, t, self.settings.patch) for each in x.split(1)])

    def to(self, device: str | torch.device) -> ExactScales:
        """The same scales on another device."""
        known = None if self.known is None else self.known.to(device)
        return ExactScales(self.image.to(device), known, self.sizes, self.settings, self.rule)

    def to_file(self, header: dict[str, str]) -> bytes:
        """The image as a safetensors object; `header` says which pyramid it belongs to."""
        tensors = {"image": self.image[0]} | ({} if self.known is None else {"known": self.known[0, 0]})
        return to_bytes(tensors, header | {"exact_sizes": json.dumps(self.sizes)})

    @staticmethod
    def from_file(data: bytes, settings: PyramidSettings, channels: Channels = RGB) -> ExactScales:
        """The inverse of `to_file`. Raises `ValueError` for a damaged file, `KeyError` where something is missing."""
        tensors = read_tensors(data)
        sizes = [(int(h), int(w)) for h, w in json.loads(read_header(data)["exact_sizes"])]
        image, known = tensors["image"], tensors.get("known")
        number = torch.uint8 if channels.is_rgb else torch.float32
        if (
            image.dtype != number
            or tuple(image.shape) != (channels.count, *sizes[-1])
            or not bool(image.isfinite().all())
        ):
            raise ValueError(
                f"{FILE} does not hold {channels.count} channels of {sizes[-1][1]}x{sizes[-1][0]} px as {number}"
            )
        known = None if known is None else known[None, None]
        return ExactScales(image[None], known, sizes, _settings(settings), unit_rule([channels]))


def _settings(settings: PyramidSettings) -> DetailSettings:
    return DetailSettings(
        patch=settings.patch,
        steps=settings.detail_steps,
        noise=settings.detail_noise,
        completeness=settings.completeness,
        layout_patch=settings.layout_patch,
    )


def _seeds(x: Tensor, draw: Draw) -> list[int]:
    """A seed for each of N states, from one random number of each."""
    return [int(number.abs() * 2**24) for number in draw(x.new_empty(len(x), 1, 1, 1, device="cpu")).flatten()]


def _levels(settings: DetailSettings, options: ChainOptions) -> list[float]:
    """The noise levels of a scale with some options; a single one or none: nothing is drawn."""
    if options.steps == 0:
        return []
    levels = settings.levels(steps=options.steps)
    return levels if options.last is None else levels[-1 - min(options.last, len(levels) - 1) :]


def _held(hold: Hold, after: Callable[[Tensor], Tensor] | None) -> Held:
    """Constraints on the estimates: low frequencies, then the clamp `after`."""
    if after is None:
        return hold
    return lambda estimate, wrap, last: after(hold(estimate, wrap, last))
