"""`pgcn.read_image` and `pgcn.write_image`: files to images with all channels and bits, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from pgcn.imaging.channels import Channels, Image, of_tensor
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.images.convert import Reading
from pgcn_jobs.images.value_files import encode_values
from pgcn_jobs.images.values import Transparency
from pgcn_jobs.inputs.discover import one_source
from pgcn_jobs.inputs.loading import MAX_PIXELS
from pgcn_jobs.inputs.part_names import check_part_name
from pgcn_jobs.inputs.parts import read_whole
from pgcn_jobs.spec import PartRef

_FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".npy": "NPY", ".safetensors": "SAFETENSORS"}


def read_image(
    path: str | Path,
    *,
    channels: Literal["auto", "rgb"] = "auto",
    transparency: Transparency = "unknown",
    parts: Mapping[str, str | Path] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """The image in a file, or at a URL, by the table in docs/channels.md.

    `channels="rgb"` gives RGB of 8 bits, blended with white, of any image. `transparency` is the treatment of
    transparent pixels: `unknown`, `white` or `learned`. `parts` are files of further channels by their names:
    `{"label": "masks/cat.png", "normal": "normals/cat.png", "height": "height.tif"}`.

    Raises `JobError` with a sentence for a person, for a file that cannot be read or does not fit.
    """

    def ref(name: str, where: str | Path) -> PartRef:
        source = one_source(str(where))
        return PartRef(name, source.location, source.uri, None)

    refs = [ref(check_part_name(name), where) for name, where in (parts or {}).items()]
    reading = Reading(channels, transparency if channels == "auto" else "white")
    loaded, _ = read_whole(ref("image", path), refs, max_pixels, reading)
    return Image(loaded.image, loaded.channels, loaded.known, loaded.note)


def write_image(path: str | Path, image: Image | Tensor, channels: Channels | None = None) -> Path:
    """Write an image, or a sample `(C, H, W)` or `(1, C, H, W)` in [-1, 1] of `channels`, with all bits of its values.

    The ending of `path` names the format: .png, .tif, .npy or .safetensors. Raises `ConfigError` for channels that the
    format cannot hold, with the one that can.
    """
    path = Path(path)
    x = image.tensor if isinstance(image, Image) else image
    if channels is None:
        channels = image.channels if isinstance(image, Image) else of_tensor(x if x.ndim == 4 else x[None])
    made = encode_values(x, channels, _FORMATS.get(path.suffix.lower(), "other"))
    if f".{made.ending}" != path.suffix.lower().replace(".tiff", ".tif"):
        raise ConfigError(f"These channels are written as .{made.ending}: call {path.name} so.", code=Code.OPTION_VALUE)
    path.write_bytes(made.data)
    return path
