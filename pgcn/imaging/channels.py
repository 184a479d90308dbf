"""Descriptions of an image's channels: groups of a kind, their values in files, and the tensors that stand for them.

An image is a tensor `(1, C, H, W)` in [-1, 1] with a `Channels`, and perhaps a mask of known pixels (`Image`). Each
group is a slice of the C channels:

| kind     | channels | value in a file                        | in the tensor                              |
|----------|----------|----------------------------------------|--------------------------------------------|
| `colour` | 3        | sRGB, `low` (black) to `high` (white)   | -1 at `low`, 1 at `high`                   |
| `gray`   | 1        | `low` (black) to `high` (white)         | the same                                   |
| `band`   | 1        | linear, of any unit                     | the same; `low` and `high` are the image's |
| `alpha`  | 1        | opacity, 0 to `high`                    | the same                                   |
| `normal` | 3        | unit vectors, (n + 1)/2 of the range    | n                                          |
| `label`  | classes  | one number, a category of `classes`     | 1 in the channel of its class, else -1     |

The default is `RGB`: one group of colour in 8 bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pgcn.imaging.normals import UnitNormals, unit

Kind = Literal["colour", "gray", "band", "alpha", "normal", "label"]

KINDS: tuple[Kind, ...] = get_args(Kind)

SIZES: Mapping[Kind, int] = {"colour": 3, "gray": 1, "band": 1, "alpha": 1, "normal": 3}
"""Channels of a group; a label has as many as classes."""

NUMBERS = {"uint8": (0, 255), "uint16": (0, 65_535), "int16": (-(2**15), 2**15 - 1)} | {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "float32": (-math.inf, math.inf),
}
"""Number formats of values in files, each with its smallest and largest value. Other integers become one of these, and
other floats float32."""

MOST = 64
"""Most channels of an image. The first layer of a network grows with them, and so does each patch that is compared."""


class ChannelsError(ValueError):
    """A description of channels is not valid, or does not fit; the text is a sentence for a person."""


@dataclass(frozen=True)
class Group:
    """One group of channels.

    `number` is the format of its values in files. Values `low` and `high` are -1 and 1 in tensors; they are the bounds
    of every result. `nodata` is the value in files of a pixel without data, if one is declared. `classes` are the
    categories of a label, ascending, in the order of their channels.
    """

    name: str
    kind: Kind
    number: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    nodata: float | None = None
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 100 or not self.name.isprintable():
            raise ChannelsError(f"a group of channels has a name of 1 to 100 characters, not {self.name!r}")
        if self.kind not in KINDS:
            raise ChannelsError(f"the channels {self.name} are of the kind {self.kind!r}: it is one of {_list(KINDS)}")
        if self.number not in NUMBERS:
            raise ChannelsError(f"the channels {self.name} have {self.number!r} values: {_list(NUMBERS)} are known")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ChannelsError(f"the channels {self.name} have a range from {self.low} to {self.high}")
        if (self.kind == "label") != bool(self.classes) or list(self.classes) != sorted(set(self.classes)):
            raise ChannelsError(
                f"the channels {self.name} have the classes {self.classes}: a label has some, ascending"
            )

    @property
    def size(self) -> int:
        """Number of channels in the tensor."""
        return len(self.classes) if self.kind == "label" else SIZES[self.kind]

    @property
    def stored(self) -> int:
        """Number of values of a pixel in a file."""
        return 1 if self.kind == "label" else self.size

    def encode(self, values: Tensor) -> Tensor:
        """Values `(N, stored, H, W)`, of any number format, as channels `(N, size, H, W)` float32 in [-1, 1].

        Values out of range are clamped; NaN becomes the middle of the range.
        """
        if self.kind == "label":
            classes = torch.tensor(self.classes, device=values.device).view(1, -1, 1, 1)
            return (values.long() == classes).float() * 2 - 1
        # In float64, so that integers of 32 bits and narrow ranges far from 0 keep what float32 can hold.
        x = (values.double() - self.low) / (self.high - self.low) * 2 - 1
        return torch.nan_to_num(x, nan=0.0).clamp(-1, 1).float()

    def decode(self, x: Tensor) -> Tensor:
        """The inverse: channels in [-1, 1] as values `(N, stored, H, W)`, float64, integers rounded to whole numbers.

        A label has the class of its largest channel. Normals have unit length; vectors that differ from it by less
        than the rounding of their number format stay as they are, so that values of a file come back as they were.
        """
        if self.kind == "label":
            classes = torch.tensor(self.classes, dtype=torch.float64, device=x.device)
            return classes[x.argmax(1, keepdim=True)]
        x = self._unit(x.double()) if self.kind == "normal" else x.double()
        values = (x.clamp(-1, 1) + 1) / 2 * (self.high - self.low) + self.low
        return values if self.number == "float32" else values.round()

    def _unit(self, n: Tensor) -> Tensor:
        """Vectors `(N, 3, H, W)` with unit length where theirs differs from 1 by more than rounding explains."""
        step = 1e-6 if self.number == "float32" else 2 / (self.high - self.low)
        near = (n.norm(dim=1, keepdim=True) - 1).abs() <= step * math.sqrt(3) / 2
        return torch.where(near, n, unit(n))


@dataclass(frozen=True)
class Channels:
    """The groups of an image's channels, in the order of the tensor. Raises `ChannelsError` where they do not fit."""

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if not names or len(set(names)) != len(names):
            raise ChannelsError(f"an image has one or more groups of channels of different names, not {names}")
        if self.count > MOST:
            raise ChannelsError(f"the image has {self.count} channels, and at most {MOST} can be learned together")

    @cached_property
    def count(self) -> int:
        """C, the number of channels of the tensor."""
        return sum(group.size for group in self.groups)

    @property
    def is_rgb(self) -> bool:
        """True for plain RGB of 8 bits, under any name: the image that is its own display."""
        return len(self.groups) == 1 and self.groups[0] == Group(self.groups[0].name, "colour")

    def slices(self) -> Iterator[tuple[Group, slice]]:
        """Each group with its channels."""
        at = 0
        for group in self.groups:
            yield group, slice(at, at + group.size)
            at += group.size

    def of(self, x: Tensor, name: str) -> Tensor:
        """The channels `(N, size, H, W)` of one group of `x` `(N, C, H, W)`. Raises `KeyError` for another name."""
        return x[:, {group.name: where for group, where in self.slices()}[name]]

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Values in files `(N, stored, H, W)` float64, by the names of groups, of `x` `(N, C, H, W)` in [-1, 1]."""
        return {group.name: group.decode(x[:, where]) for group, where in self.slices()}

    def tensor(self, values: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `values`: `(N, C, H, W)` float32. Raises `KeyError` where a group is missing."""
        return torch.cat([group.encode(values[group.name]) for group in self.groups], dim=1)

    def display(self, x: Tensor) -> Tensor:
        """`x` `(N, C, H, W)` as RGB `(N, 3, H, W)` in [-1, 1], for people and for metrics of networks for photographs.

        The first of these that the image has: its colour; its gray; its normals, as colours; its bands, three or more
        as red, green and blue in their order, else the first as gray; its label, class k of n in the k-th of n colours
        around the circle of hues; its alpha as gray.
        """
        if self.is_rgb:
            return x
        for kind in ("colour", "gray", "normal", "band", "label", "alpha"):
            found = [(group, x[:, where]) for group, where in self.slices() if group.kind == kind]
            if not found:
                continue
            group, first = found[0]
            if kind == "label":
                return _hues(first)
            if kind == "band" and len(found) >= 3:
                return torch.cat([part for _, part in found[:3]], dim=1)
            return first if group.size == 3 else first.expand(-1, 3, -1, -1)
        raise AssertionError("every group has one of these kinds")

    def to_json(self) -> str:
        """The description as JSON text; equal descriptions give equal text."""
        return json.dumps([asdict(group) for group in self.groups], sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Channels:
        """The inverse of `to_json`. Raises `ChannelsError` for other text."""
        try:
            return Channels(tuple(_group(each) for each in json.loads(text)))
        except ChannelsError:
            raise
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            raise ChannelsError(f"not a description of channels: {text[:200]!r}") from error


def _group(fields: Mapping[str, Any]) -> Group:
    nodata = fields.get("nodata")
    return Group(
        name=str(fields["name"]),
        kind=fields["kind"],
        number=str(fields["number"]),
        low=float(fields["low"]),
        high=float(fields["high"]),
        nodata=None if nodata is None else float(nodata),
        classes=tuple(int(each) for each in fields.get("classes", ())),
    )


def _list(words: Mapping[str, Any] | tuple[str, ...]) -> str:
    return ", ".join(words)


def _hues(label: Tensor) -> Tensor:
    """Relaxed one-hot channels `(N, n, H, W)` as their classes' colours: class 0 dark, the others around the circle."""
    chosen = label.argmax(1)
    count = max(1, label.shape[1] - 1)
    angle = (chosen - 1).double() * (2 * math.pi / count)
    rgb = torch.stack([torch.cos(angle - shift) for shift in (0, 2 * math.pi / 3, 4 * math.pi / 3)], dim=1)
    return torch.where(chosen[:, None] == 0, -0.8, rgb).to(label)


def unit_rule(channels: Sequence[Channels]) -> UnitNormals | None:
    """The rule that renormalizes all normals of a batch of images with these channels; None where there are none.

    The states are `(N, B·C, H, W)`, B the number of `channels`. Without normals nothing has to be done, and no state is
    copied.
    """
    found, at = [], 0
    for each in channels:
        found += [slice(at + s.start, at + s.stop) for group, s in each.slices() if group.kind == "normal"]
        at += each.count
    return UnitNormals(tuple(found)) if found else None


RGB = Channels((Group("colour", "colour"),))
"""Plain RGB of 8 bits."""


def of_tensor(x: Tensor) -> Channels:
    """The channels of a tensor `(1, C, H, W)` that nobody described: RGB for 3, gray for 1, else bands in [-1, 1]."""
    if x.shape[1] == 3:
        return RGB
    if x.shape[1] == 1:
        return Channels((Group("gray", "gray", "float32", -1, 1),))
    return Channels(tuple(Group(f"band{i + 1}", "band", "float32", -1, 1) for i in range(x.shape[1])))


@dataclass(frozen=True, eq=False)
class Image:
    """An image: `tensor` `(1, C, H, W)` in [-1, 1], its channels, and `known` `(1, 1, H, W)`, None: everywhere.

    `note` has the steps of the conversion from its file. Unknown pixels have smooth content, which is no data.
    """

    tensor: Tensor
    channels: Channels = RGB
    known: Tensor | None = None
    note: str | None = None

    @property
    def unknown(self) -> Tensor | None:
        """The mask of pixels without data, 1 there: what `pgcn.fit` takes as `mask`."""
        return None if self.known is None else 1 - self.known

    def display(self) -> Tensor:
        """The image as RGB, `(1, 3, H, W)`: see `Channels.display`."""
        return self.channels.display(self.tensor)
