"""Settings of one training, and the presets.

Values come from the published code of PatchGenCN (Zheng, Xie, Li, CVPR 2021) unless a comment says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from pgcn import method_settings, novelty
from pgcn.method_settings import MethodSettings, SettingsError, identifying, override

__all__ = [
    "ADDED",
    "LARGEST",
    "PRESETS",
    "RENAMED",
    "PyramidSettings",
    "Settings",
    "SettingsError",
    "Step",
    "identifying",
    "make_settings",
    "override",
    "recorded_names",
    "setting_names",
]

LARGEST = 16_384
"""Bound of `max_size`, px."""

SMALLEST_WINDOW = 16
"""Bound of `window`, px: its inner part should be larger than the 11 pixels that a position of f sees."""


class Step(NamedTuple):
    """One step of a chain: its size δ², and the σ of its noise."""

    size: float
    noise_std: float


RENAMED = {"step_fall": "step_decay"}
"""Former names of settings, which old runs, lists and commands still use, and the names now."""

ADDED: Mapping[str, Any] = {
    "detail": "learned",
    "learned_size": 32,
    "patch": 11,
    "detail_steps": 3,
    "detail_noise": 0.6,
    "completeness": 0.002,
    "window": 0,
    "max_curvature": 0.0,
    "layout_patch": 0,
    "layouts": 1,
    "channels": "rgb",
    "transparency": "white",
    "distil": 0,
    "sampling": "chain",
}
"""Settings that came after the first release, each with the value that describes results from before it.

That value must be the field's default, so that records without the field read right. A setting with it is left out of a
job's identity (`identifying`), so that a new setting renames no finished job.
"""


READING = frozenset({"channels", "transparency"})
"""Settings of how an image's file is read. They enter an identity by what they make of the image alone: a file that
they do not change has one identity under all of them (`pgcn_jobs.spec`)."""


class PyramidSettings(MethodSettings):
    """Settings of the scales of an image, for every method that learns a pyramid.

    Sizes are in pixels of the image after it is resized to `max_size`.
    """

    reading: ClassVar[frozenset[str]] = READING

    # Reading of the image
    channels: Literal["rgb", "auto"] = Field(
        "rgb", description="auto: all channels with all their bits, gray as one; rgb: every image as RGB of 8 bits"
    )
    transparency: Literal["white", "unknown", "learned"] = Field(
        "white",
        description="transparent pixels: unknown, and left out of the loss; learned, with opacity as a channel; or "
        "blended with white",
    )

    # Pyramid
    max_size: int = Field(250, ge=12, le=LARGEST, description="longest side of the finest scale, px; never upsampled")
    min_size: int = Field(25, ge=8, le=512, description="short side of scale 0, the coarsest, px")
    scales: int = Field(8, ge=1, le=32, description="number of scales, geometric in size; equal sizes merge")

    # Detail: the scales above the learned ones
    detail: Literal["learned", "exact"] = Field(
        "learned",
        description="learned: a network at every scale; exact: networks up to learned_size, above it the exact energy "
        "of the image's own patches, at sizes that double",
    )
    learned_size: int = Field(
        32, ge=12, le=512, description="short side of the finest learned scale, px, of exact detail"
    )
    patch: int = Field(11, ge=7, le=31, description="side of a patch of exact detail, px, odd; larger ones copy more")
    detail_steps: int = Field(3, ge=1, le=100, description="steps of falling noise at each exact scale")
    detail_noise: float = Field(0.6, gt=0, lt=1, description="noise level t that an exact scale starts at")
    completeness: float = Field(
        0.002,
        gt=0,
        le=100,
        description="mean squared difference below which rarely used patches are preferred, at exact scales",
    )
    layout_patch: int = Field(
        0,
        ge=0,
        le=31,
        description="side of a patch, px, odd, that draws a sample's layout again at the finest learned scale, before "
        "exact detail; 0: the layout stays as learned",
    )
    layouts: int = Field(
        1,
        ge=1,
        le=64,
        description="layouts that are drawn for each sample, of which the one of least exact energy gets its detail; "
        "more keep things whole, and copy more",
    )

    @model_validator(mode="after")
    def _sizes_agree(self) -> PyramidSettings:
        if self.min_size > self.max_size:
            raise ValueError(f"min_size ({self.min_size}) is larger than max_size ({self.max_size})")
        if self.detail == "exact" and self.min_size > self.learned_size:
            raise ValueError(f"min_size ({self.min_size}) is larger than learned_size ({self.learned_size})")
        if self.patch % 2 == 0:
            raise ValueError(f"patch ({self.patch}) is even")
        if self.layout_patch and (self.layout_patch < 7 or self.layout_patch % 2 == 0):
            raise ValueError(f"layout_patch ({self.layout_patch}) is neither 0 nor an odd number from 7 on")
        return self


class Settings(PyramidSettings):
    """Everything that changes the result of a training. Frozen; the defaults are the `paper` preset.

    Sizes are in pixels of the image after it is resized to `max_size`; tensors are in [-1, 1]. A new field is also
    entered in `ADDED`.
    """

    method: ClassVar[str] = "patchgencn"
    shorthands: ClassVar[tuple[str, ...]] = (novelty.NAME,)

    # Energy network
    net_width: Literal["by_size", "narrow", "wide"] = Field(
        "by_size",
        description="64-32-32-32-1 (narrow), 128-64-64-64-1 (wide), or narrow below 64 px, longest side",
    )
    warm_start: bool = Field(False, description="each net starts from the trained coarser one where widths agree")

    # Langevin dynamics: x ← clamp(x + ½·step_size·∇ₓΣf + σε, -1, 1)
    langevin_steps: int = Field(30, ge=1, le=10_000, description="K, steps of a chain at scales above 0")
    langevin_steps_init: int = Field(60, ge=1, le=10_000, description="K at scale 0, which starts from noise")
    step_size: float = Field(0.01, gt=0, le=10, description="δ², the mean over a chain's steps")
    step_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share by which a chain's first step is longer than step_size and its last one shorter",
    )
    noise: Literal["annealed", "langevin"] = Field(
        "annealed",
        description="σ = noise_std·max(0, 1 - it/noise_iterations), published; or σ = √step_size, the equation",
    )
    noise_std: float = Field(0.01, ge=0, le=1, description="σ of the first iteration, for annealed noise")
    noise_iterations: int = Field(
        1000, ge=1, description="iterations until σ is zero at the finest scale; grows with iteration_growth"
    )
    chains: int = Field(1, ge=1, le=256, description="synthesis chains in each iteration")
    pool_size: int = Field(
        0,
        ge=0,
        le=65_536,
        description="number of starts kept for scales above 0, fewer where they are larger than a window; "
        "0: new ones for each iteration",
    )

    window: int = Field(
        0,
        ge=0,
        le=LARGEST,
        description="side of the random windows that larger scales are trained on, px; 0: whole images",
    )

    # Recovery chain, which keeps the image itself as a mode of the distribution
    recovery_steps: int = Field(30, ge=1, le=10_000, description="steps of the recovery chain, without noise")
    recovery_every: int = Field(1, ge=1, description="iterations from one recovery chain to the next")
    recovery_weight: float = Field(0.1, ge=0, le=100, description="weight of the recovery term in the loss")

    # Iterations
    max_curvature: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="bound of f's curvature where chains end, in units of 4/step_size, above which a step of that size "
        "overshoots; 0: none",
    )
    iterations: int = Field(4000, ge=1, le=1_000_000, description="iterations at the finest scale")
    iteration_growth: float = Field(1.0, ge=1, le=10, description="factor of iterations for each coarser scale")
    learning_rate: float = Field(4e-4, gt=0, le=1, description="of Adam, β = (0.5, 0.999), at the first iteration")
    final_learning_rate: float = Field(5e-5, ge=0, le=1, description="reached linearly after 80 % of the iterations")
    warm_up: int = Field(0, ge=0, description="first iterations of a scale, in which the learning rate rises from zero")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="number format of the convolutions in chains; all else is float32"
    )

    # Generators, which learn where the chains of trained scales end
    distil: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="iterations of each learned scale's generator, which then draws samples in one pass; 0: none",
    )
    sampling: Literal["generator", "chain"] = Field(
        "chain", description="samples by the generators (with distil), or by chains"
    )

    @classmethod
    def added(cls) -> Mapping[str, Any]:
        """`ADDED`."""
        return ADDED

    @classmethod
    def renamed(cls) -> Mapping[str, str]:
        """`RENAMED`."""
        return RENAMED

    @classmethod
    def expanded(cls, overrides: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        """`overrides` with `novelty` replaced by the settings that it stands for."""
        return novelty.without_novelty(overrides, current)

    @model_validator(mode="after")
    def _window_fits(self) -> Settings:
        if 0 < self.window < SMALLEST_WINDOW:
            raise ValueError(f"window ({self.window}) is smaller than {SMALLEST_WINDOW} px; 0 trains on whole images")
        return self

    @model_validator(mode="after")
    def _generators_exist(self) -> Settings:
        if self.sampling == "generator" and not self.distil:
            raise ValueError("sampling=generator needs generators: give distil=400, for example")
        return self

    def iterations_at(self, scale: int) -> int:
        """Iterations at `scale`. A pyramid with fewer scales than `scales` lacks the fine ones, with few iterations."""
        return round(self.iterations * self.iteration_growth ** (self.scales - 1 - scale))

    def steps_at(self, scale: int) -> int:
        """K, the steps of a chain at `scale`."""
        return self.langevin_steps_init if scale == 0 else self.langevin_steps

    def sigma(self, iteration: int, scale: int) -> float:
        """σ of the Langevin noise in iteration `iteration` of `scale`."""
        if self.noise == "langevin":
            return float(self.step_size**0.5)
        until = self.noise_iterations * self.iteration_growth ** (self.scales - 1 - scale)
        return self.noise_std * max(0.0, 1.0 - iteration / until)

    def frozen_sigma(self) -> float:
        """σ in trained scales and in sampling; zero for annealed noise, which has ended by then."""
        return float(self.step_size**0.5) if self.noise == "langevin" else 0.0

    def chain(self, steps: int, sigma: float) -> list[Step]:
        """The steps of a chain, whose sizes decay linearly from (1 + step_decay)·δ² to (1 - step_decay)·δ².

        Their mean is δ². Equal steps oscillate across a ridge of f where its curvature exceeds 4/δ²; with decay, the
        last, short steps converge to the ridge. The noise of a step is proportional to the root of its size, as in the
        equation: `sigma` is that of a step of δ².
        """
        shares = [1 + self.step_decay * (1 - 2 * k / (steps - 1)) for k in range(steps)] if steps > 1 else [1.0] * steps
        return [Step(self.step_size * share, float(sigma * share**0.5)) for share in shares]

    @property
    def largest_curvature(self) -> float:
        """`max_curvature` in units of f over squared pixel values; 0: no bound."""
        return self.max_curvature * 4 / self.step_size

    def learning_rate_at(self, iteration: int, iterations: int) -> float:
        """Linear from `learning_rate` to `final_learning_rate` over 80 % of `iterations`, then constant.

        In the first `warm_up` iterations it is multiplied by a factor that rises to one.
        """
        share = min(1.0, iteration / max(1.0, 0.8 * iterations))
        rate = self.learning_rate + share * (self.final_learning_rate - self.learning_rate)
        return rate * min(1.0, (iteration + 1) / self.warm_up) if self.warm_up else rate

    def is_wide(self, longest_side: int) -> bool:
        """True where a scale of this longest side has the wide net."""
        return self.net_width == "wide" or (self.net_width == "by_size" and longest_side >= 64)


_layout = Settings(
    channels="auto",
    transparency="unknown",
    detail="exact",
    # Half the height of the layout: whole objects instead of broken ones (docs/quality.md).
    layout_patch=15,
    # Fewer broken things for a tenth more time of a sample (docs/quality.md).
    layouts=2,
    max_size=512,
    min_size=12,
    scales=4,
    net_width="narrow",
    warm_start=True,
    # Few steps, eighty times the published size on average: the strongest factor in the trials of docs/trainer.md.
    langevin_steps=10,
    langevin_steps_init=10,
    step_size=0.8,
    # Equal steps of this length diverged in two of four trainings.
    step_decay=0.9,
    noise_iterations=25,
    pool_size=64,
    # As many steps as in synthesis: a net that is trained on short chains diverges from the image on longer ones.
    recovery_steps=10,
    recovery_every=2,
    recovery_weight=0.5,
    iterations=274,
    iteration_growth=1.2,
    # Adam's first steps are large, and would undo the warm start of a net.
    warm_up=20,
)

PRESETS: dict[str, Settings] = {
    "draft": _layout,
    "small": _layout.model_copy(
        update={
            "detail": "learned",
            "layouts": 1,
            "max_size": 128,
            "scales": 7,
            "iterations": 100,
            "iteration_growth": 1.25,
        }
    ),
    "best": _layout.model_copy(update={"max_size": 2048, "scales": 5, "iterations": 228}),
    "paper": Settings(channels="auto", transparency="unknown"),
}
"""`draft` and `best` draw photographs at their own size, up to `max_size`; `small` and `paper` learn every scale.

`paper` has the published constants.
"""


def setting_names() -> list[str]:
    """All names by which a setting may be given: those of records, and the shorthand `novelty`."""
    return method_settings.setting_names(Settings)


def recorded_names() -> list[str]:
    """All names of settings in records: the present ones, then the former ones."""
    return method_settings.recorded_names(Settings)


def with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by setting, with former names replaced. Raises `ValueError` for a setting under both names."""
    return method_settings.with_present_names(Settings, values)


def make_settings(preset: str, overrides: Mapping[str, Any] | None = None) -> Settings:
    """A preset with some settings replaced. Text values are converted to the setting's type.

    `novelty`, one of `pgcn.novelty.NOVELTIES`, is a shorthand for several settings.

    Raises `SettingsError` for an unknown preset or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise SettingsError(f"There is no preset {preset!r}. Choose one of {', '.join(PRESETS)}.")
    return override(PRESETS[preset], overrides or {})
