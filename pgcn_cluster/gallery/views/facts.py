"""Facts about one job, line by line: metrics of its samples, how it was made, its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgcn.methods import DEFAULT, MethodError, find_method
from pgcn_cluster.gallery.views.formatting import duration, number, share, when


class Fact(NamedTuple):
    """One line: what it is called everywhere, its value, and how to read it."""

    name: str
    value: str
    meaning: str = ""


GLOSSARY = (
    Fact(
        "Distance",
        "Fidelity: how far textures and structures of the samples are from those of the image. 0: the same. "
        "Over 0.1: visibly different. (frechet_vgg33)",
    ),
    Fact(
        "Largest piece",
        "Copying: the largest connected part of the image that a sample repeats, as a share of the sample's area. "
        "Under 15 %: new content or small parts. 100 %: a copy. (largest_piece)",
    ),
    Fact(
        "In place",
        "Copying: the share of a sample's area that is the same as the image at the same place. High: the layout is "
        "the image's own. (in_place)",
    ),
    Fact(
        "Layout diversity",
        "How much the layouts of samples differ. 0: all have one layout. Over 0.3: different layouts. "
        "(layout_diversity)",
    ),
)
"""Metrics that every page shows: names, and explanations for a person, with the column's name."""


def quality(row: Mapping[str, Any]) -> list[Fact]:
    """The four metrics of the glossary, in its order."""
    shown = number(row["frechet_vgg33"]), share(row["largest_piece"]), share(row["in_place"])
    values = (*shown, number(row["layout_diversity"]))
    return [Fact(entry.name, value, entry.value) for entry, value in zip(GLOSSARY, values, strict=True)]


MEANINGS = {
    "frechet_vgg22": "distance of small textures and edges from the image's: 0 is equal",
    "frechet_vgg33": "the same of larger structures; a grid raises it",
    "coherence_256": "is every part of a sample in the image, at 256 px? 0 is yes, 1 is no nearer than one flat colour",
    "detail": "strength of the finest detail over the image's: under 0.5 is blurred, over 1.3 is noise or a grid",
    "largest_piece": "share of the area that is the largest copied piece",
    "mean_piece": "size of the copied piece that a random position belongs to, as a share of the area",
    "in_place": "share of the area that is copied from the same place",
    "layout_diversity": "how much layouts of samples differ: 0 is one layout",
    "copy": "how much of a sample is in shifted pieces of the image, at 64 px",
    "diversity": "how much samples differ pixel by pixel, over the image's contrast: 0 is all alike",
    "alignment": "do edges of the maps lie at the same places? 0 is no; good is the image's own value",
    "alignment_image": "the same of the image",
    "undecided": "share of the label's pixels that are between two categories",
    "class_share_error": "half the sum of the differences of the categories' shares from the image's: 0 is equal",
    "recovery_error": "distance of the recovered image from the image",
    "contrast": "contrast of samples over the image's: 1 is equal",
    "frechet_random": "distance of features of random convolutions: 0 is equal",
    "patch_swd": "sliced Wasserstein distance of patches: 0 is equal",
    "coherence": "distance of the samples' patches from the image's nearest, at 64 px",
    "completeness": "distance of the image's patches from the samples' nearest, at 64 px",
}


def all_metrics(row: Mapping[str, Any], measured: Sequence[Fact]) -> list[Fact]:
    """Every metric by its column: those with a meaning for a person first, then those that only `metrics` holds."""
    found = {fact.name: fact.value for fact in measured}
    found |= {name: number(row[name]) for name in MEANINGS if row.get(name) is not None}
    first = [name for name in MEANINGS if name in found]
    return [
        Fact(name, found[name], MEANINGS.get(name, "")) for name in [*first, *sorted(found.keys() - MEANINGS.keys())]
    ]


def provenance(row: Mapping[str, Any]) -> list[Fact]:
    """Provenance of a pyramid: time, memory, device and versions."""
    peak = row["peak_memory_mb"]
    facts = [
        Fact("method", row["method"] or ""),
        Fact("preset", row["preset"] or ""),
        Fact("size", f"{row['width']} × {row['height']}", "pixels of the finest scale"),
        Fact("scales", _text(row["scales"])),
        Fact("iterations", _text(row["iterations"]), "over all scales"),
        Fact("parameters", f"{row['parameters']:,}" if row["parameters"] is not None else "", "over all scales"),
        Fact("train_s", duration(row["train_s"]), "training, over all attempts that its checkpoints come from"),
        Fact("wall_s", duration(row["wall_s"]), "the attempt that committed, storage included"),
        Fact("resumes", _text(row["resumes"]), "how often training went on from a checkpoint"),
        Fact("peak_memory_mb", number(peak) if peak is not None else "", "host memory of the worker"),
        Fact("device", row["device"] or ""),
        Fact("seed", _text(row["seed"])),
        Fact("committed_at", when(row["committed_at"])),
        Fact("algorithm", row["algorithm"] or ""),
        Fact("pgcn_version", row["pgcn_version"] or ""),
        Fact("torch_version", row["torch_version"] or ""),
        Fact("job_id", row["job_id"]),
        Fact("attempt", row["attempt"]),
        Fact("uri", row["uri"] or ""),
    ]
    return [fact for fact in facts if fact.value]


def settings(row: Mapping[str, Any]) -> list[Fact]:
    """Every setting of the training; text that is no JSON object is shown as it is."""
    text = row["settings"] or ""
    try:
        read = json.loads(text) if text else {}
    except ValueError:
        read = None
    if not isinstance(read, dict):
        return [Fact("settings", text)]
    meanings = _meanings(row["method"] or DEFAULT)
    return [
        Fact(name, value if isinstance(value, str) else json.dumps(value), meanings.get(name, ""))
        for name, value in read.items()
    ]


def _meanings(method: str) -> dict[str, str]:
    """Descriptions of the settings of a method; none of one that is not installed here."""
    try:
        fields = find_method(method).settings.model_fields
    except MethodError:
        return {}
    return {name: field.description or "" for name, field in fields.items()}


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
