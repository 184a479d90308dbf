"""The setting `novelty`: a name for the values of five settings, from new layouts to close to the image.

It is a shorthand alone: `pgcn.settings.override` replaces it, so that no record and no identity holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

NAME = "novelty"


class Novelty(NamedTuple):
    """Values that a novelty stands for; `first_iterations` are those of scale 0, from which the others follow."""

    first_iterations: int
    patch: int
    completeness: float
    layout_patch: int
    layouts: int

    def values(self, scales: int, iteration_growth: float) -> dict[str, Any]:
        """Values by setting, for a pyramid of so many learned scales."""
        iterations = max(1, round(self.first_iterations / iteration_growth ** (scales - 1)))
        return {
            "iterations": iterations,
            "patch": self.patch,
            "completeness": self.completeness,
            "layout_patch": self.layout_patch,
            "layouts": self.layouts,
        }


NOVELTIES: Mapping[str, Novelty] = {
    "new": Novelty(149, 11, 0.002, 0, 1),
    "balanced": Novelty(473, 11, 0.002, 15, 2),
    "close": Novelty(473, 15, 0.002, 21, 4),
}
"""The named settings, most new first. docs/quality.md has the metrics of each.

A short training of the learned scales gives layouts that are less like the image's; large patches copy large pieces,
and a layout that is drawn again with patches of half its height keeps things whole, as does the best of
several layouts.
Smaller patches than 11 px with a short training cost fidelity and copy hardly less: 9 px on `02-launch`,
`frechet_vgg33` 0.016 instead of 0.010, `mean_piece` 0.013 instead of 0.016. `balanced` has the values of the presets
`draft` and `best`.
"""


def without_novelty(overrides: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`overrides` of `settings`, the values by name, with `novelty` replaced by what it stands for.

    Raises `ValueError` for an unknown name, learned detail, or values in `overrides` that contradict it.
    """
    given = dict(overrides)
    if NAME not in given:
        return given
    name = str(given.pop(NAME))
    if name not in NOVELTIES:
        raise ValueError(f"There is no novelty {name!r}. Choose one of {', '.join(NOVELTIES)}.")
    whole = {**settings, **given}
    if whole["detail"] != "exact":
        raise ValueError(
            "A novelty belongs to exact detail, and here every scale is learned: leave it out, or choose the preset "
            "draft or best."
        )
    try:
        scales, growth = int(whole["scales"]), float(whole["iteration_growth"])
        values = NOVELTIES[name].values(max(1, scales), max(1.0, growth))
    except (TypeError, ValueError):
        return given  # values that are no numbers are refused with all others
    for setting, value in values.items():
        if setting in given and not _same(given[setting], value):
            raise ValueError(
                f"The novelty {name} stands for {setting}={value}, and {setting}={given[setting]} is given too: "
                f"leave one of them out."
            )
    return given | values


def _same(given: Any, value: float) -> bool:
    """True where a value, which may be text, is this number."""
    try:
        return float(given) == value
    except (TypeError, ValueError):
        return False
