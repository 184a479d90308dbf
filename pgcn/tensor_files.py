"""Tensors and a little text as one safetensors object, without pickle.

The text is one JSON value in the file's header, so that the same contents give the same bytes; the format's own map
of texts has no order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

_KEY = "pgcn"


def to_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> bytes:
    """One object that holds copies of `tensors` and the text `header`."""
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(own, {_KEY: json.dumps(dict(header), sort_keys=True)})


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """The tensors of `to_bytes`. Raises `ValueError` for damaged bytes."""
    try:
        return load(data)
    except SafetensorError as error:
        raise ValueError(f"a safetensors file is damaged: {error}") from None


def read_header(data: bytes) -> dict[str, str]:
    """The text of `to_bytes`. Raises `ValueError` for bytes that it did not write."""
    length = int.from_bytes(data[:8], "little")
    try:
        if len(data) < 8 + length:
            raise ValueError
        return dict(json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY]))
    except (ValueError, KeyError, TypeError):
        raise ValueError("not a safetensors file that this program wrote, or a damaged one") from None


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
