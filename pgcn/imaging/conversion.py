"""Conversion of an image's channels to those of another image, for tasks that work on two."""

from __future__ import annotations

import torch
from torch import Tensor

from pgcn.imaging.channels import Channels, ChannelsError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma (BT.601)."""


def converted(x: Tensor, own: Channels, wanted: Channels) -> Tensor:
    """`x` `(N, C, H, W)` of the channels `own` as an image of the channels `wanted`.

    Groups of the same kinds are taken one by one: bands and labels by their values, clamped to the wanted range or
    classes, and others by their share of their range. Gray becomes colour, and colour gray (luma). Raises
    `ChannelsError` for other channels.
    """
    if own == wanted:
        return x
    kinds, others = ([group.kind for group in channels.groups] for channels in (own, wanted))
    if kinds == ["gray"] and others == ["colour"]:
        return x.expand(-1, 3, -1, -1)
    if kinds == ["colour"] and others == ["gray"]:
        return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if kinds != others:
        raise ChannelsError(f"it has the channels {words(own)}, and {words(wanted)} are needed")
    parts = []
    for (group, where), target in zip(own.slices(), wanted.groups, strict=True):
        by_value = group.kind in {"band", "label"}
        # Colours have no unit: white stays white in any number format.
        parts.append(target.encode(group.decode(x[:, where])) if by_value else x[:, where])
    return torch.cat(parts, dim=1)


def words(channels: Channels) -> str:
    """The groups for a sentence: "gray", "band1, band2, band3 (bands)"."""
    if len(channels.groups) == 1:
        return channels.groups[0].kind
    return ", ".join(f"{group.name} ({group.kind})" for group in channels.groups)
