"""Labels as image files of their categories, with the values of the file that the image's label was read from.

| values                      | file                                                 |
|-----------------------------|------------------------------------------------------|
| whole numbers to 255        | PNG, gray of 8 bits: entries of a palette are numbers |
| whole numbers to 65535      | PNG, gray of 16 bits                                 |
| colours, and to 2^24 - 1    | PNG, RGB: red is the most significant byte           |
| others, negative ones       | TIFF, 32 bits                                        |
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor

from pgcn.imaging.channels import Channels, Group
from pgcn_jobs.images.value_files import ValueFile


def label_of(channels: Channels) -> Group | None:
    """The first label among the channels; None without one."""
    return next((group for group in channels.groups if group.kind == "label"), None)


def encode_label(image: Tensor, channels: Channels) -> ValueFile | None:
    """The first label of `image` `(1, C, H, W)` in [-1, 1] as a file of its categories; None without a label."""
    group = label_of(channels)
    if group is None:
        return None
    values = group.decode(channels.of(image, group.name))[0, 0].detach().cpu().numpy().astype(np.int64)
    sink = io.BytesIO()
    if group.number in {"uint8", "uint16"}:
        Image.fromarray(values.astype(group.number)).save(sink, "PNG")
    elif group.classes[0] >= 0 and group.classes[-1] < 2**24:
        rgb = np.stack([values >> 16, values >> 8, values], axis=-1) & 255
        Image.fromarray(rgb.astype(np.uint8)).save(sink, "PNG")
    else:
        Image.fromarray(values.astype(np.int32)).save(sink, "TIFF")
        return ValueFile("tif", sink.getvalue())
    return ValueFile("png", sink.getvalue())
