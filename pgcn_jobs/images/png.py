"""Conversion between RGB arrays, tensors and PNG files. `pgcn_jobs.images.convert` decodes files of all formats."""

from __future__ import annotations

import io

import torch
from PIL import Image

from pgcn_jobs.images.convert import RGB


def encode_png(rgb: RGB) -> bytes:
    """The image `(H, W, 3)` uint8 as a PNG file; `decode` returns the same pixels."""
    sink = io.BytesIO()
    Image.fromarray(rgb).save(sink, "PNG")
    return sink.getvalue()


def to_tensor(rgb: RGB) -> torch.Tensor:
    """`(H, W, 3)` uint8 as `(1, 3, H, W)` float32 in [-1, 1]: 0 becomes -1, 255 becomes 1."""
    return torch.tensor(rgb).permute(2, 0, 1).unsqueeze(0).to(torch.float32) / 127.5 - 1


def to_rgb(image: torch.Tensor) -> RGB:
    """`(3, H, W)` or `(1, 3, H, W)` in [-1, 1] as `(H, W, 3)` uint8, clamped and rounded: the inverse of `to_tensor`.

    Raises:
        ValueError: another shape.
    """
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"expected (3, H, W) or (1, 3, H, W), got {tuple(image.shape)}")
    levels = (image.detach().cpu().float() + 1).mul_(127.5).round_().clamp_(0, 255)  # in place: it may be large
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
