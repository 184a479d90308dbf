"""Masks, `(1, 1, H, W)` in [0, 1], which are 1 on the chosen pixels: resizing, detection, dilation and blending."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcn.imaging.scales import Size, resize

CHANGED = 0.06
"""Largest difference of a channel, in [-1, 1], that counts as no change: 7 levels of 255, as JPEG makes."""


def check_mask(mask: Tensor) -> Tensor:
    """`mask` as `(1, 1, H, W)` of zeros and ones; `(H, W)`, `(1, H, W)` and `(1, C, H, W)` are accepted.

    Raises `ValueError` for another shape, values out of [0, 1], and a mask that chooses nothing or everything.
    """
    mask = mask.to(torch.float32)
    while mask.ndim < 4:
        mask = mask.unsqueeze(0)
    if mask.ndim != 4 or mask.shape[0] != 1:
        raise ValueError(f"a mask is a tensor of shape (1, 1, H, W); this one is {tuple(mask.shape)}")
    if not bool(torch.isfinite(mask).all()) or float(mask.min()) < 0 or float(mask.max()) > 1:
        raise ValueError("a mask has values in [0, 1]: 1 where something is to be done")
    chosen = (mask.mean(1, keepdim=True) > 0.5).float()
    if not 0 < float(chosen.mean()) < 1:
        found = "everything" if bool(chosen.any()) else "nothing"
        raise ValueError(f"the mask chooses {found}: make it white where something is to be done, black elsewhere")
    return chosen


def joined_masks(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The pixels that either of two masks of one size chooses; None where neither is given.

    Raises `ValueError` as `check_mask` does, also where together they choose everything, and for different sizes.
    """
    given = [check_mask(mask) for mask in (first, second) if mask is not None]
    if len(given) < 2:
        return given[0] if given else None
    if given[0].shape != given[1].shape:
        raise ValueError(
            f"the masks have different sizes, {tuple(given[0].shape[-2:])} and {tuple(given[1].shape[-2:])}"
        )
    return check_mask(torch.maximum(*given))


def fit(mask: Tensor, size: Size) -> Tensor:
    """The mask at another size, still of zeros and ones; at a smaller one, no chosen pixel is lost."""
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    if mask.shape[-2] >= size[0] and mask.shape[-1] >= size[1]:
        return (F.adaptive_max_pool2d(mask, size) > 0).float()
    return (F.interpolate(mask, size=size, mode="bilinear", antialias=True) > 0.5).float()


def difference(a: Tensor, b: Tensor) -> Tensor:
    """The mask of pixels where two images differ by more than JPEG's errors, such as pasted or moved objects.

    Single pixels are left out as noise, and gaps are closed. Both `(1, C, H, W)`; `b` is resized to `a`'s size. Raises
    `ValueError` where the mask would be empty, or nearly full.
    """
    changed = ((a - resize(b, (a.shape[-2], a.shape[-1]))).abs().amax(1, keepdim=True) > CHANGED).float()
    kept = shrink(grow(changed, 2), 2)
    kept = grow(shrink(kept, 1), 1)
    share = float(kept.mean())
    if not 0 < share < 0.9:
        found = "no region" if share == 0 else "nearly everything"
        raise ValueError(f"{found} differs between the two images: give a mask of the region to change")
    return kept


def grow(mask: Tensor, pixels: int) -> Tensor:
    """Dilated by a square of `pixels` each way."""
    if pixels == 0:
        return mask
    # Columns, then rows: the rim of a large image is hundreds of pixels wide, and a square window would take too long.
    mask = F.max_pool2d(mask, (2 * pixels + 1, 1), stride=1, padding=(pixels, 0))
    return F.max_pool2d(mask, (1, 2 * pixels + 1), stride=1, padding=(0, pixels))


def shrink(mask: Tensor, pixels: int) -> Tensor:
    """Eroded by a square of `pixels` each way; pixels beyond the border count as chosen."""
    return 1 - grow(1 - mask, pixels)


def blur(x: Tensor, pixels: int) -> Tensor:
    """The mean over a square of `pixels` each way, twice: a soft edge. Borders are continued."""
    for _ in range(2 if pixels > 0 else 0):
        x = F.avg_pool2d(F.pad(x, [0, 0, pixels, pixels], mode="replicate"), (2 * pixels + 1, 1), stride=1)
        x = F.avg_pool2d(F.pad(x, [pixels, pixels, 0, 0], mode="replicate"), (1, 2 * pixels + 1), stride=1)
    return x


def soft(mask: Tensor, rim: int) -> Tensor:
    """Weights of a result: 1 on the mask, falling to 0 within `rim` pixels outside it, and exactly 0 beyond.

    Dilated, then blurred, as SinGAN does for harmonization and editing (Shaham et al., ICCV 2019).
    """
    step = max(1, rim // 4)
    return blur(grow(mask, rim - 2 * step), step) if rim >= 4 else grow(mask, rim)


def blend(made: Tensor, given: Tensor, weights: Tensor) -> Tensor:
    """`made` where the weights are 1 and `given` where they are 0, both to the bit, and a mixture between them."""
    mixed = torch.where(weights < 1, given + weights * (made - given), made)
    return torch.where(weights > 0, mixed, given)
