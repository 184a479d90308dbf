"""Settings of the exact scales."""

from __future__ import annotations

from dataclasses import dataclass

MIDDLE = 7
"""Side of the part of a patch that is drawn, px. The window there has almost no weight at its border."""

DETAIL = 16
"""Random numbers of the search differ by this many for every step of a scale."""


@dataclass(frozen=True)
class DetailSettings:
    """Settings of the exact scales, which draw a picture from the patches of an image.

    - `patch`: side of a patch, px, odd and at least 7. Larger patches copy larger pieces and keep things whole.
    - `steps`, `noise`: steps of one scale, and the noise level t in (0, 1) that its first step begins at.
    - `settle`, `settle_noise`: times that the coarsest scale is drawn again from that level without being held to the
      layout: half things and ghosts where two of the image's layouts meet mostly go, but long thin things may break.
    - `layout_patch`: side of a patch, px, odd, with which a layout from learned chains is drawn again at its own size,
      0: never. A patch of half the layout's height sees whole objects, and joins the broken ones.
    - `layout_steps`, `layout_noise`: in how many steps, and from which noise level. With fewer steps more stays broken;
      from 0.5 on parts of the image are lost.
    - `components`: principal components in which patches are compared; all where a patch has fewer values.
    - `top`: matches that a position keeps; their weighted mean is drawn.
    - `passes`: rounds of the candidate search in each step.
    - `random`, `reach`: random candidates of a position in each round, at distances that halve from `reach` px.
    - `completeness`: c, a mean squared difference per value. A squared distance is divided by 1 + least/c, least being
      the smallest distance of any position to that patch, so that patches which fit nowhere are used too (GPNN,
      Granot et al., CVPR 2022). `inf` gives the plain distance.
    - `coherence`: share in [0, 1) by which the distance of a candidate falls that all eight neighbours continue;
      not at the coarsest scale, where it would cut things that could bend.
    - `tie`: mean squared difference per value below which distances are as good as equal.
    - `exhaustive`: comparisons up to which all patches are candidates of all positions.
    - `band`: pixels that are compared together: bounds memory, changes no result but by rounding.

    Raises `ValueError` for values out of range.
    """

    patch: int = 11
    steps: int = 3
    noise: float = 0.6
    components: int = 32
    top: int = 2
    passes: int = 2
    random: int = 2
    reach: int = 16
    completeness: float = 0.002
    coherence: float = 0.3
    tie: float = 2e-4
    settle: int = 1
    settle_noise: float = 0.3
    layout_patch: int = 0
    layout_steps: int = 8
    layout_noise: float = 0.4
    exhaustive: int = 4_000_000
    band: int = 2**17

    def __post_init__(self) -> None:
        if self.patch < MIDDLE or self.patch % 2 == 0:
            raise ValueError(f"patch is an odd number of pixels, {MIDDLE} or more, not {self.patch}")
        if self.layout_patch and (self.layout_patch < MIDDLE or self.layout_patch % 2 == 0):
            raise ValueError(f"layout_patch is 0 or an odd number of pixels, {MIDDLE} or more, not {self.layout_patch}")
        for name in ("noise", "settle_noise", "layout_noise"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is between 0 and 1, not {getattr(self, name)}")
        if not 0 <= self.coherence < 1:
            raise ValueError(f"coherence is at least 0 and less than 1, not {self.coherence}")
        if self.completeness <= 0:
            raise ValueError(f"completeness is above 0 (inf: without), not {self.completeness}")
        for name in ("steps", "layout_steps", "components", "top", "band"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is 1 or more, not {getattr(self, name)}")
        for name in ("settle", "passes", "random", "reach", "exhaustive", "tie"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more, not {getattr(self, name)}")

    def levels(self, noise: float | None = None, steps: int | None = None) -> list[float]:
        """Noise levels t of a scale's steps, falling, with the 0 that the last one ends at."""
        noise, steps = noise or self.noise, steps or self.steps
        last = min(0.02, noise)
        if steps == 1:
            return [noise, 0.0]
        return [noise + (last - noise) * k / (steps - 1) for k in range(steps)] + [0.0]
