"""The georeference of a TIFF: its GeoTIFF tags, kept as they are, and scaled with the pixels.

The tags are copied and not interpreted, so that any coordinate system is kept without a library that knows them all
(GDAL's wheel has 105 MB). It must not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

_SCALE, _TIEPOINTS, _MATRIX, _KEYS, _DOUBLES, _TEXT = 33550, 33922, 34264, 34735, 34736, 34737
_TYPES = {_SCALE: "d", _TIEPOINTS: "d", _MATRIX: "d", _KEYS: "H", _DOUBLES: "d"}

_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_MOST = 10_000  # values of one tag


@dataclass(frozen=True)
class Georeference:
    """GeoTIFF tags: numbers by the tag's number, and the text of its parameters."""

    numbers: Mapping[int, tuple[float, ...]]
    text: str | None = None

    def scaled(self, width: float, height: float) -> Georeference:
        """The georeference of the same frame with `width` and `height` times as many pixels."""
        # Of points, a tag names the middle of a pixel, and of areas its corner.
        middle = 0.5 if self._is_point else 0.0
        numbers = dict(self.numbers)
        if _SCALE in numbers:
            x, y, *rest = numbers[_SCALE]
            numbers[_SCALE] = (x / width, y / height, *rest)
        if _TIEPOINTS in numbers:
            points = list(numbers[_TIEPOINTS])
            points[0::6] = [(i + middle) * width - middle for i in points[0::6]]
            points[1::6] = [(j + middle) * height - middle for j in points[1::6]]
            numbers[_TIEPOINTS] = tuple(points)
        if len(numbers.get(_MATRIX, ())) == 16:
            m = list(numbers[_MATRIX])
            for row in range(0, 16, 4):
                m[row + 3] += m[row] * middle * (1 / width - 1) + m[row + 1] * middle * (1 / height - 1)
                m[row], m[row + 1] = m[row] / width, m[row + 1] / height
            numbers[_MATRIX] = tuple(m)
        return replace(self, numbers=numbers)

    @property
    def _is_point(self) -> bool:
        keys = self.numbers.get(_KEYS, ())
        return any(tuple(keys[at : at + 4]) == (_RASTER_TYPE, 0, 1, _PIXEL_IS_POINT) for at in range(4, len(keys), 4))

    def tags(self) -> list[tuple[int, str, int, Any, bool]]:
        """The tags as `tifffile.imwrite` takes them."""
        found: list[tuple[int, str, int, Any, bool]] = [
            (tag, _TYPES[tag], len(values), [int(v) for v in values] if tag == _KEYS else list(values), True)
            for tag, values in sorted(self.numbers.items())
        ]
        return found + ([] if self.text is None else [(_TEXT, "s", len(self.text) + 1, self.text, True)])

    def to_json(self) -> str:
        """The georeference as JSON text."""
        return json.dumps({"numbers": {str(tag): values for tag, values in self.numbers.items()}, "text": self.text})

    @staticmethod
    def from_json(text: str) -> Georeference:
        """The inverse. Raises `ValueError` for other text, which may come from anybody's file."""
        try:
            found = json.loads(text)
            numbers = {int(tag): tuple(map(float, values)) for tag, values in found["numbers"].items()}
            if not numbers.keys() <= _TYPES.keys() or not (found["text"] is None or found["text"].isascii()):
                raise ValueError
            return Georeference(numbers, found["text"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError("no georeference") from None


def read_georeference(tag: Callable[[int], Any]) -> Georeference | None:
    """The georeference in a TIFF's tags, which `tag` returns by their numbers; None without a place or a scale."""
    numbers = {}
    for number in _TYPES:
        value = tag(number)
        values = value if isinstance(value, tuple | list) else () if value is None else (value,)
        if 0 < len(values) <= _MOST and all(isinstance(each, int | float) for each in values):
            numbers[number] = tuple(float(each) for each in values)
    text = tag(_TEXT)
    text = text.decode("ascii", "ignore") if isinstance(text, bytes) else text
    text = text.rstrip("\0") if isinstance(text, str) and text.isascii() and len(text) <= _MOST else None
    if _KEYS not in numbers or not numbers.keys() & {_TIEPOINTS, _MATRIX}:
        return None
    return Georeference(numbers, text)
