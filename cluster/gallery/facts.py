"""What is known of one job, line by line: how good its model is, how it was made, with which settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.gallery.formatting import duration, number, share, when
from pgcn.settings import Settings


class Fact(NamedTuple):
    """One line: what it is called everywhere, its value, and how to read it."""

    name: str
    value: str
    meaning: str = ""


def quality(row: Mapping[str, Any], measured: Sequence[Fact]) -> list[Fact]:
    """How good the model is: the figures of the result, then those that only the metrics hold."""
    facts = [
        Fact("frechet_vgg22", number(row["frechet_vgg22"]), "Fréchet distance of VGG16 features, relu2_2: 0 is equal"),
        Fact("copy", share(row["copy"]), "how much of a sample is one shifted piece of the image: low is new"),
        Fact("frechet_vgg33", number(row["frechet_vgg33"]), "the same of relu3_3, which sees larger things"),
        Fact("frechet_random", number(row["frechet_random"]), "the same of random convolutions"),
        Fact("patch_swd", number(row["patch_swd"]), "sliced Wasserstein distance of patches: 0 is equal"),
        Fact("coherence", number(row["coherence"]), "distance of the samples' patches to the image's nearest"),
        Fact("completeness", number(row["completeness"]), "distance of the image's patches to the samples' nearest"),
        Fact("diversity", number(row["diversity"]), "how much samples differ, measured by the image: 0 is all alike"),
        Fact("recovery_error", number(row["recovery_error"]), "how far the recovered picture is from the image"),
    ]
    known = {fact.name for fact in facts}
    return facts + [fact for fact in measured if fact.name not in known]


def circumstances(row: Mapping[str, Any]) -> list[Fact]:
    """How the model was made."""
    peak = row["peak_memory_mb"]
    facts = [
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
    return [
        Fact(name, value if isinstance(value, str) else json.dumps(value), _meaning(name))
        for name, value in read.items()
    ]


def _meaning(setting: str) -> str:
    known = Settings.model_fields.get(setting)
    return known.description or "" if known else ""


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
