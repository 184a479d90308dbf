"""The page docs/methods.md: tables of results, a picture of samples, and words that follow from the figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.method_trial import Conditions, Result
from benchmarks.trained import markdown
from pgcn.methods import DEFAULT, find_method

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"

FAR = 0.1
"""`frechet_vgg22` over which samples are visibly different from the photograph."""

EQUAL_COPY = 0.01
"""Difference of `copy` that counts as equal."""


class Kept(NamedTuple):
    """One result: its method, picture and seed, the figures, and its first sample as PNG."""

    method: str
    picture: str
    seed: int
    result: Result
    png: bytes | None

    @property
    def good(self) -> bool:
        """True if there are samples."""
        return not (self.result["diverged"] or self.result["failed"])


COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("training, s", lambda value: f"{value:.0f}"),
    "frechet_vgg22": ("VGG22", lambda value: f"{value:.3f}"),
    "frechet_vgg33": ("VGG33", lambda value: f"{value:.3f}"),
    "patch_swd": ("patch-SWD", lambda value: f"{value:.3f}"),
    "copy": ("copy", lambda value: f"{value:.2f}"),
    "in_place": ("in place", lambda value: f"{value:.2f}"),
    "layout_diversity": ("layout diversity", lambda value: f"{value:.2f}"),
    "sample_s": ("a sample, s", lambda value: f"{value:.1f}"),
    "artifacts": ("artifacts, kB", lambda value: f"{value / 1000:.0f}"),
    "parameters": ("parameters", lambda value: f"{value:,.0f}"),
}
"""Columns of the table by the name of the figure: heading, and text of a value."""

Means = Mapping[str, float]


def means(kept: Sequence[Kept]) -> dict[str, Means]:
    """The mean of each figure by method, over trainings that did not diverge or fail; of a method with none: none."""
    found = dict[str, Means]()
    for method in dict.fromkeys(one.method for one in kept):
        good = [one.result for one in kept if one.method == method and one.good]
        if good:
            found[method] = {name: sum(result[name] for result in good) / len(good) for name in COLUMNS}
    return found


def table(kept: Sequence[Kept]) -> str:
    """A row for each method: the number of trainings, how many diverged, the means, and its worst picture."""
    rows, found = [], means(kept)
    for method in dict.fromkeys(one.method for one in kept):
        own = [one for one in kept if one.method == method]
        cells = [f"`{method}`", str(len(own)), str(sum(bool(one.result["diverged"]) for one in own))]
        if any(one.result["failed"] for one in own):
            cells[2] += f", and {sum(bool(one.result['failed']) for one in own)} failed"
        if method in found:
            worst = max((one for one in own if one.good), key=lambda one: float(one.result["frechet_vgg22"]))
            cells += [text(found[method][name]) for name, (_, text) in COLUMNS.items()]
            cells.append(f"{worst.result['frechet_vgg22']:.3f}, `{Path(worst.picture).stem}`")
        else:
            cells += ["–"] * (len(COLUMNS) + 1)
        rows.append(cells)
    heads = ["method", "trainings", "diverged", *(head for head, _ in COLUMNS.values()), "worst VGG22"]
    return markdown(heads, rows)


def pictures_table(kept: Sequence[Kept]) -> str:
    """VGG22 and copy by method and picture, means over seeds."""
    pictures = list(dict.fromkeys(one.picture for one in kept))
    rows = []
    for method in dict.fromkeys(one.method for one in kept):
        cells = []
        for picture in pictures:
            own = [one for one in kept if (one.method, one.picture) == (method, picture)]
            found = means([one for one in own if one.good]).get(method)
            cells.append(f"{found['frechet_vgg22']:.3f} / {found['copy']:.2f}" if found else _missing(own))
        rows.append([f"`{method}`", *cells])
    return markdown(["method", *(f"`{Path(picture).stem}`" for picture in pictures)], rows)


def _missing(own: Sequence[Kept]) -> str:
    return "diverged" if all(one.result["diverged"] for one in own) else "failed"


def advice(kept: Sequence[Kept]) -> str:
    """Which method to take for what: sentences that follow from the means."""
    found = means(kept)
    near = {method: own for method, own in found.items() if own["frechet_vgg22"] <= FAR}
    if not near:
        return f"No method is near the photographs (VGG22 at most {FAR:g}) in this time."

    def first(name: str, sign: int = 1, among: Mapping[str, Means] = near) -> str:
        ordered = sorted(among, key=lambda method: sign * among[method][name])
        text = COLUMNS[name][1]
        return ", then ".join(f"`{method}` ({text(among[method][name])})" for method in ordered[:3])

    far = [method for method in found if method not in near]
    lines = [
        f"Samples nearest to the photograph (VGG22): {first('frechet_vgg22')}.",
        f"Samples with the least copied from it: {first('copy')}.",
        f"Layouts that differ most from each other: {first('layout_diversity', -1)}.",
        f"Samples in the least time, in seconds: {first('sample_s')}.",
        f"The smallest artifacts, in kB: {first('artifacts')}.",
    ]
    if far:
        lines.append(f"Not for photographs like these in this time (VGG22 over {FAR:g}): {_listed(far)}.")
    if unstable := [method for method in found if any(one.result["diverged"] for one in kept if one.method == method)]:
        lines.append(f"Some trainings diverged: {_listed(unstable)}.")
    if lost := sorted({one.method for one in kept} - found.keys()):
        lines.append(f"No training succeeded: {_listed(lost)}.")
    return "\n".join(f"- {line}" for line in [*lines, *_against_default(found)])


def _against_default(found: Mapping[str, Means]) -> list[str]:
    """A sentence on methods that are nearer to the photograph than the default one, without more copying."""
    if DEFAULT not in found or len(found) < 2:
        return []
    own = found[DEFAULT]
    better = [
        method
        for method, other in found.items()
        if other["frechet_vgg22"] < own["frechet_vgg22"] and other["copy"] <= own["copy"] + EQUAL_COPY
    ]
    return [
        f"Nearer to the photograph than `{DEFAULT}`, the default, without more copying "
        f"(copy at most {own['copy'] + EQUAL_COPY:.2f}): {_listed(better) or 'none'}."
    ]


def _listed(methods: Sequence[str]) -> str:
    return ", ".join(f"`{method}`" for method in methods)


TASKS = {"inpainting": "Inpainting by method", "anomalies": "Anomalies by method"}
"""Headings of the tables of tasks on the page, by the module of `benchmarks` that prints the table."""


def task_tables(before: str, folder: Path) -> dict[str, str]:
    """The tables of tasks: of `NAME.md` in the folder of results, or else those of the page `before`."""
    found = {}
    for name in TASKS:
        earlier = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", before, re.DOTALL)
        file = folder / f"{name}.md"
        if file.is_file():
            found[name] = file.read_text().strip()
        elif earlier:
            found[name] = earlier[1]
    return found


class Facts(NamedTuple):
    """Facts on the making of the page."""

    conditions: Conditions
    command: str
    machine: str
    picture: str


TEXT = """# Training methods in equal time

`make methods` writes this page: tables, picture, and the sentences on them. Choose a method with `pgcn run photos --out
run --method NAME`. Where `--method` is given twice, every image is trained with both, and the gallery of the run
compares them.

The command of these figures:

```sh
{command}
```

Conditions: the preset `draft` at a longest side of {side} px, with as many iterations as take about {seconds:g} s of
{clock}, which two short trainings find; {pictures}; {seeds}. Figures are means over the
trainings that did not diverge, of {samples} samples each. {machine}.

{table}

VGG22, VGG33, in place and layout diversity are `frechet_vgg22`, `frechet_vgg33`, `in_place` and `layout_diversity` of
[quality.md](quality.md). Patch-SWD is the sliced Wasserstein distance of patches, copy the share of a sample that
continues shifted pieces of the image, at 64 px. Lower is better for the first three. Copying and diversity say how new
a sample is, not how good it is. The last column is the picture where the method does worst.

## When to take which

{advice}

{summaries}

## Pictures

VGG22 / copy of each picture:

{by_picture}

One sample each, of the first seed; the photographs are the first row.

![Samples of each method]({picture})
"""


TASK_TEXT = """
## {heading}

Of `python -m benchmarks.{name} --method NAME`.

<!-- {name} -->
{table}
<!-- end -->
"""


def page(kept: Sequence[Kept], facts: Facts, tasks: Mapping[str, str]) -> str:
    """The page. `tasks` are tables of other benchmarks, by name."""
    conditions, pictures = facts.conditions, list(dict.fromkeys(f"`{Path(one.picture).stem}`" for one in kept))
    methods = [find_method(name) for name in dict.fromkeys(one.method for one in kept)]
    text = TEXT.format(
        command=facts.command,
        side=conditions.side,
        seconds=conditions.seconds,
        clock="CPU time of one thread" if conditions.device == "cpu" else "one GPU",
        pictures=f"{_count(len(pictures), 'picture')} ({', '.join(pictures)})",
        seeds=_count(len({one.seed for one in kept}), "seed"),
        samples=conditions.samples,
        machine=facts.machine,
        table=table(kept),
        advice=advice(kept),
        summaries="\n".join(f"- `{method.name}`: {method.summary}. {method.paper}." for method in methods),
        by_picture=pictures_table(kept),
        picture=facts.picture,
    )
    more = [TASK_TEXT.format(heading=TASKS[name], name=name, table=made) for name, made in tasks.items()]
    return "".join([text, *more])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
