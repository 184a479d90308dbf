"""Makes `docs/tasks.md` and its pictures from bundled photographs: `python docs/tasks.py`, or `make tasks`.

Each task's command on the page is the command that made its picture. Exits with 1 where a task's own figure is not
better than doing nothing. Pyramids are kept in `runs/tasks`, so that a second time takes a minute.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import anomalies, inpainting, recovery, superres
from cluster.cli.app import app
from pgcn.tasks.task import all_tasks

ROOT = Path(__file__).parents[1]
PHOTOS = Path("examples/images")
INPUTS = Path("runs/tasks/inputs")
OUT = Path("runs/tasks")
PICTURES = Path("docs/tasks")
PAGE = Path("docs/tasks.md")
HEIGHT, GAP = 150, 6

Picture = Image.Image


@dataclass(frozen=True)
class Demo:
    """One task on the page. `shown` are files or pictures, left to right; `said` what to look for in them."""

    task: str
    image: Path
    options: Sequence[str]
    python: str
    shown: Callable[[], Sequence[Picture]]
    said: str

    @property
    def command(self) -> list[str]:
        """The words of the command line behind `pgcn`."""
        return ["apply", self.task, str(self.image), *self.options, "--preset", "draft", "--out", str(OUT)]

    @property
    def stem(self) -> Path:
        """How the files of its result begin."""
        return OUT / f"{self.image.stem}-{self.task}"


def photo(name: str) -> Picture:
    """A bundled photograph."""
    return Image.open(PHOTOS / name).convert("RGB")


def result(task: str, image: str, suffix: str = ".png") -> Picture:
    """A result that a command has written."""
    return Image.open(OUT / f"{Path(image).stem}-{task}{suffix}").convert("RGB")


def given(name: str) -> Picture:
    """An input that `make_inputs` has made."""
    return Image.open(INPUTS / name).convert("RGB")


def make_inputs() -> None:
    """Second pictures and masks, all made of bundled photographs and a few strokes."""
    INPUTS.mkdir(parents=True, exist_ok=True)
    launch, coffee, bricks = photo("02-launch.jpg"), photo("07-coffee.jpg"), photo("01-bricks.jpg")

    cup = coffee.crop((170, 30, 450, 220))
    oval = Image.new("L", cup.size)
    ImageDraw.Draw(oval).ellipse((0, 0, cup.width - 1, cup.height - 1), fill=255)
    composite, mask = launch.copy(), Image.new("L", launch.size)
    composite.paste(cup, (340, 60), oval)
    mask.paste(oval, (340, 60))
    composite.save(INPUTS / "cup.png")
    mask.save(INPUTS / "cup-mask.png")

    copied = launch.copy()
    copied.paste(launch.crop((260, 130, 390, 400)), (430, 130))
    copied.save(INPUTS / "two-rockets.png")

    painting = Image.new("RGB", launch.size, (150, 185, 225))
    brush = ImageDraw.Draw(painting)
    brush.rectangle((0, 330, 640, 427), fill=(90, 80, 60))
    for left, top in ((120, 220), (330, 120), (520, 260)):
        brush.rectangle((left - 18, top, left + 18, 360), fill=(235, 235, 235))
        brush.rectangle((left - 70, top + 40, left - 30, 360), fill=(120, 110, 105))
    painting.save(INPUTS / "painting.png")

    hole = Image.new("L", bricks.size)
    ImageDraw.Draw(hole).rectangle((110, 85, 190, 150), fill=255)
    hole.save(INPUTS / "hole.png")
    torn = bricks.copy()
    torn.paste((128, 128, 128), mask=hole)
    torn.save(INPUTS / "torn.png")

    foreign = photo("08-vessels.jpg")
    foreign.paste(photo("04-gravel.jpg").crop((0, 0, 90, 90)), (220, 330))
    foreign.save(INPUTS / "foreign.png")
    where = Image.new("L", foreign.size)
    ImageDraw.Draw(where).rectangle((220, 330, 309, 419), fill=255)
    where.save(INPUTS / "foreign-mask.png")

    small = coffee.resize((64, 43), Image.Resampling.BICUBIC)
    small.save(INPUTS / "sharp.png")
    small.filter(ImageFilter.BoxBlur(1)).save(INPUTS / "blurred.png")


def enlarged(picture: Picture) -> Picture:
    """Small pixels shown as pixels."""
    return picture.resize((picture.width * HEIGHT // picture.height, HEIGHT), Image.Resampling.NEAREST)


def frames(path: Path, count: int) -> list[Picture]:
    """Frames of a clip, evenly."""
    clip = Image.open(path)
    found = []
    for index in range(count):
        clip.seek(index * clip.n_frames // count)  # type: ignore[attr-defined]
        found.append(clip.convert("RGB"))
    return found


DEMOS = (
    Demo(
        "generate",
        PHOTOS / "01-bricks.jpg",
        ["--set", "number=2", "--set", "tile=true"],
        "pyramid.generate(image, 2, tile=True)",
        lambda: [photo("01-bricks.jpg"), *(result("generate", "01-bricks.jpg", f"-{i}.png") for i in (0, 1, "tiled"))],
        "the photograph, two tiles, and the first tile two by two: its left fits to its right, its top to its bottom.",
    ),
    Demo(
        "superres",
        PHOTOS / "04-gravel.jpg",
        ["--set", "factor=4"],
        "pyramid.superresolve(image, 4)",
        lambda: [
            photo("04-gravel.jpg").crop((0, 0, 60, 60)).resize((240, 240), Image.Resampling.BICUBIC),
            result("superres", "04-gravel.jpg").crop((0, 0, 240, 240)),
        ],
        "a quarter of the photograph, four times as large: bicubic, and with the finest net and back-projection.",
    ),
    Demo(
        "harmonize",
        PHOTOS / "02-launch.jpg",
        ["--target", str(INPUTS / "cup.png"), "--mask", str(INPUTS / "cup-mask.png")],
        "pyramid.harmonize(image, composite, mask)",
        lambda: [given("cup.png"), given("cup-mask.png"), result("harmonize", "02-launch.jpg")],
        "a cup pasted into the night, the mask, and the cup in the night's colours.",
    ),
    Demo(
        "paint",
        PHOTOS / "02-launch.jpg",
        ["--target", str(INPUTS / "painting.png"), "--start-scale", "1", "--sweep"],
        "pyramid.paint(image, painting)",
        lambda: [
            given("painting.png"),
            result("paint", "02-launch.jpg"),
            result("paint", "02-launch.jpg", "-sweep.png"),
        ],
        "a painting of rectangles, the picture that is made of it from scale 1, and what each start scale gives, "
        "coarsest first. Finer starts stay with the painting; by measure it would be the fourth, with rims.",
    ),
    Demo(
        "edit",
        PHOTOS / "02-launch.jpg",
        ["--target", str(INPUTS / "two-rockets.png"), "--start-scale", "2"],
        "pyramid.edit(image, edited)",
        lambda: [photo("02-launch.jpg"), given("two-rockets.png"), result("edit", "02-launch.jpg")],
        "the photograph, a rectangle of it copied to the right with its seams in the sky, and the seams mended. No "
        "mask is given: it is where the two differ. The region is made at 64 px and enlarged, so it is less sharp.",
    ),
    Demo(
        "style",
        PHOTOS / "04-gravel.jpg",
        ["--target", str(PHOTOS / "06-cat.jpg"), "--sweep"],
        "pyramid.style(image, content)",
        lambda: [
            *(photo("04-gravel.jpg"), photo("06-cat.jpg"), result("style", "04-gravel.jpg")),
            result("style", "04-gravel.jpg", "-sweep.png"),
        ],
        "the style, the content, the result, and every start scale: stones alone at first, a cat of stones last.",
    ),
    Demo(
        "inpaint",
        INPUTS / "torn.png",
        ["--mask", str(INPUTS / "hole.png"), "--truth", str(PHOTOS / "01-bricks.jpg")],
        "pgcn.fit(image, mask=mask).inpaint(image, mask)",
        lambda: [given("torn.png"), result("inpaint", "torn.png"), photo("01-bricks.jpg")],
        "bricks with a hole, filled by a pyramid that has learned all but the hole, and what was there.",
    ),
    Demo(
        "animate",
        PHOTOS / "02-launch.jpg",
        ["--set", "frames=24", "--set", "walk=0.6"],
        "pyramid.animate(image, frames=24)",
        lambda: frames(OUT / "02-launch-animate.webp", 6),
        "six of the 24 frames of a loop.",
    ),
    Demo(
        "energy",
        PHOTOS / "08-vessels.jpg",
        ["--target", str(INPUTS / "foreign.png"), "--mask", str(INPUTS / "foreign-mask.png")],
        "pyramid.energy_score(image, other)",
        lambda: [photo("08-vessels.jpg"), given("foreign.png"), result("energy", "08-vessels.jpg")],
        "what was learned, the same with a piece of gravel, and how far chains move each pixel. The mask is for the "
        "metric alone.",
    ),
    Demo(
        "recover",
        PHOTOS / "07-coffee.jpg",
        ["--target", str(INPUTS / "blurred.png"), "--truth", str(INPUTS / "sharp.png")],
        "pyramid.restore(image, corrupted)",
        lambda: [enlarged(x) for x in (given("blurred.png"), result("recover", "07-coffee.jpg"), given("sharp.png"))],
        "blurred, restored, and what it was, at 64 px.",
    ),
)


def in_a_row(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height beside each other, on white."""
    made = [x.resize((round(x.width * HEIGHT / x.height), HEIGHT), Image.Resampling.LANCZOS) for x in pictures]
    sheet = Image.new("RGB", (sum(x.width + GAP for x in made) - GAP, HEIGHT), "white")
    left = 0
    for x in made:
        sheet.paste(x, (left, 0))
        left += x.width + GAP
    return sheet


def run(demo: Demo) -> dict[str, float]:
    """Run a demo's command in this process, and return its figures."""
    print("pgcn", shlex.join(demo.command), flush=True)
    for earlier in OUT.glob(f"{demo.stem.name}[-.]*"):  # of this page: a command replaces no file
        earlier.unlink()
    with redirect_stdout(io.StringIO()) as said:
        code = app(demo.command, standalone_mode=False)
    if code:
        raise SystemExit(f"{said.getvalue()}\nthe command ended with {code}")
    figures: dict[str, float] = json.loads(demo.stem.with_name(demo.stem.name + ".json").read_text())
    return figures


def section(demo: Demo, figures: dict[str, float]) -> tuple[str, bool]:
    """A demo's part of the page, and whether its figure is better than doing nothing."""
    task = all_tasks()[demo.task]
    assert task.criterion is not None
    criterion = task.criterion
    passes = criterion.passes(figures)
    better = f"{criterion.better} is better"
    verdict = "" if passes else " **Not better than doing nothing.**"
    text = f"""## {demo.task}: {task.summary}

![{demo.said}](tasks/{demo.task}.webp)

*{demo.said[0].upper()}{demo.said[1:]}*

```
pgcn {shlex.join(demo.command)}
```

```python
{demo.python}
```

`{criterion.metric}` is {figures[criterion.metric]:.3g}; `{criterion.baseline}`, that of doing nothing,
{figures[criterion.baseline]:.3g} ({better}).{verdict}
"""
    return text, passes


def tables() -> list[str]:
    """The measured tables, each with the command that prints it."""
    keep = f"--keep {OUT}"
    found = []
    for title, module, text in (
        ("Inpainting", inpainting, INPAINTING),
        ("Restoring", recovery, RECOVERY),
        ("Finding what is foreign", anomalies, ANOMALIES),
        ("Super-resolution, four times", superres, SUPERRES),
    ):
        name = module.__name__
        print(f"python -m {name} {keep}", flush=True)
        table, _ = module.table(OUT)  # type: ignore[attr-defined]
        found.append(f"## {title}, measured\n\n{text}\n\n{table}\n\n`python -m {name} {keep}`\n")
    return found


INPAINTING = """PSNR in dB and, behind the stroke, the error in the hole in levels of 255, at 64 px. The diffusion is
scikit-image's biharmonic fill. Where a hole is thin, the chain's end is weighed with a smooth fill; in a wide one on
an irregular texture, as gravel, any texture that is not the lost one costs PSNR, and the mean colour wins; with 60 %
of single pixels gone the diffusion does."""

RECOVERY = """PSNR in dB, corrupted and restored, at 64 px, by the pyramid of the clean photograph: how much it knows
of its image. Noise is in [-1, 1] units, its strength estimated from the picture."""

ANOMALIES = """AUROC: 0.5 is a guess, 1 is faultless."""

SUPERRES = """PSNR, SSIM, RMSE and NIQE, from pictures made a quarter as large by bicubic reduction, 12 crops of bundled
photographs. Direct matching moves patches to be distributed as the small picture's, without a model. NIQE, lower is
more like photographs, is fitted to the bundled photographs less the crop's own (`benchmarks/naturalness.py`): compare
it within a row, with that of the truth, and not with values from elsewhere. Matching is often the most like
photographs and the farthest from the truth: it makes grain that is not there."""

HEAD = """# What a pyramid is for

Ten uses of a trained pyramid. Each is a command, `pgcn apply TASK IMAGE`, a method of `pgcn.Pyramid`, and one small
file in `pgcn/tasks/`; `pgcn tasks` lists them, `pgcn tasks TASK` tells inputs and options. IMAGE is always what the
pyramid has learned; what is worked on, if that is another picture, is `--target`. A pyramid is trained at the first
task, kept in `--out`, and used again; `--pyramids RUN` takes those of a run, or of another `--out`.

**This page is made by `make tasks`: each command made the picture above it.** All pyramids are of the preset `draft`,
64 px and about a minute of one core; results at full size are continued from there with the same patches, and are
soft where the task makes all of a region anew. `small` and `paper` work in the same way, with more pixels learned.

Where chains begin (`--start-scale`, 0 the coarsest and freest) is chosen by measure where it is not said, and
`--sweep` shows all. The measure is a rule of thumb: look at the sweep where the choice matters.
"""

BUCKET = """## For a folder or bucket

`pgcn run IMAGES --task TASK` does it with the model of every image, and a list does what its rows say:

```
pgcn run s3://bucket/photos --out s3://bucket/run --task superres --set factor=2
pgcn run photos --out run --task inpaint --mask 'masks/{stem}.png'      # {name}: a/cat.jpg, {stem}: a/cat
pgcn run list.csv --out run                                             # or TSV, JSON Lines, Parquet
pgcn run photos --out other --task animate --pyramids run               # trains only what `run` has not
```

| column | what it is |
|---|---|
| `uri` | the image that is learned |
| `task` | what is done with its model; empty: the model itself, with its samples |
| `target_uri`, `mask_uri`, `truth_uri` | the task's other pictures |
| any setting, `seed` | of the image's training |
| any option of the task; `task_seed` for its `seed` | of the task. A name that is both is the task's |
| `image_id`, `edit_id` | what the model and the result are called; else the path, and `cat.jpg:superres` |

Rows that need the same model (the same bytes, settings, seed and holes) share one: it is trained once, by a job of its
own, and what waits for it comes next. An edit is a job like a training: named by what decides it, committed once, tried
again by the rules of its failure, and done already where the same command runs again. One that cannot work (no mask,
nothing in the mask) is refused before anything is trained.

```
pgcn query RUN "SELECT edit_id, task, metric, value, baseline, better FROM edits"
pgcn query RUN "SELECT edit_id, image FROM pictures WHERE name = 'result'" --format parquet --out made.parquet
pgcn query RUN "SELECT e.edit_id, m.name, m.value FROM edits e JOIN metrics m USING (job_id)"
```

`edits` has one row for each result, with the task's own metric (`value`) and that of doing nothing (`baseline`);
`pictures` has what went in, what came out, and the sweep; `manifest_edits` is what was asked. In the gallery each task
has a page, and each edit one with before and after under a slider.
"""

TAIL = """## What does not work well

- At 64 px thin lines and single things (a face, a rocket's tower) are not learned, so no task can make them.
- `style` and `harmonize` give the other picture's colours and edges more than its structure: patches are 11 px.
- `edit` mends the seam, and makes the region anew: what was sharp in it is as sharp as the pyramid.
- `animate` is a walk between samples, not a motion of things.
- `recover` knows the image that it was trained on; trained on the corrupted picture itself it can do less, and
  that is not measured.
"""


def main() -> int:
    """Make everything; with `--pictures`, all but the tables, which stay as they are on the page."""
    torch.set_num_threads(1)
    make_inputs()
    PICTURES.mkdir(parents=True, exist_ok=True)
    parts, failed = [HEAD], []
    for demo in DEMOS:
        text, passes = section(demo, run(demo))
        in_a_row(demo.shown()).save(PICTURES / f"{demo.task}.webp", quality=85)
        parts.append(text)
        failed += [] if passes else [demo.task]
    if set(all_tasks()) - {demo.task for demo in DEMOS}:
        raise SystemExit("a task has no picture on the page")
    if "--pictures" in sys.argv:
        there = PAGE.read_text()
        measured = [there[there.index("## Inpainting, measured") : there.index(TAIL.splitlines()[0])]]
    else:
        measured = tables()
    PAGE.write_text("\n".join([*parts, BUCKET, *measured, TAIL]))
    print(f"{PAGE} is made." if not failed else f"Not better than doing nothing: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
