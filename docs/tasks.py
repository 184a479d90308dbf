"""Makes `docs/tasks.md` and its images from bundled photographs: `python docs/tasks.py`, or `make tasks`.

Each task's command on the page is the command that made its image. Exits with 1 if a task's metric is not better than
its baseline. Pyramids are kept in `runs/tasks`, so a second run takes a minute.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import foreign_squares, inpainting, recovery, superres
from docs.tasks_text import ANOMALIES, BUCKET, DETAILS, HEAD, INPAINTING, RECOVERY, SUPERRES, TAIL
from pgcn.tasks.task import all_tasks
from pgcn_cluster.cli.app import app

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
    """One task on the page. `shown` returns its images, left to right; `caption` explains them."""

    task: str
    image: Path
    options: Sequence[str]
    python: str
    shown: Callable[[], Sequence[Picture]]
    caption: str

    @property
    def command(self) -> list[str]:
        """Arguments of the command `pgcn`."""
        return ["apply", self.task, str(self.image), *self.options, "--preset", "draft", "--out", str(OUT)]

    @property
    def stem(self) -> Path:
        """Common beginning of the names of its result files."""
        return OUT / f"{self.image.stem}-{self.task}"


def photo(name: str) -> Picture:
    """A bundled photograph."""
    return Image.open(PHOTOS / name).convert("RGB")


def result(task: str, image: str, suffix: str = ".png") -> Picture:
    """A result image of a command."""
    return Image.open(OUT / f"{Path(image).stem}-{task}{suffix}").convert("RGB")


def given(name: str) -> Picture:
    """An input made by `make_inputs`."""
    return Image.open(INPUTS / name).convert("RGB")


def make_inputs() -> None:
    """Targets and masks, made of bundled photographs and a few strokes."""
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

    painting = Image.new("RGB", launch.size, (22, 48, 98))
    brush = ImageDraw.Draw(painting)
    brush.rectangle((0, 330, 640, 427), fill=(35, 34, 42))
    for left, top in ((120, 220), (330, 120), (520, 260)):
        brush.rectangle((left - 18, top, left + 18, 360), fill=(225, 215, 195))
        brush.ellipse((left - 70, 330, left - 50, 350), fill=(255, 190, 90))
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

    coffee.filter(ImageFilter.BoxBlur(3)).save(INPUTS / "blurred.png")


def frames(path: Path, count: int) -> list[Picture]:
    """`count` evenly spaced frames of a clip."""
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
        "the photograph, two tiles, and the first tile repeated two by two: opposite edges match.",
    ),
    Demo(
        "superres",
        PHOTOS / "02-launch.jpg",
        ["--set", "factor=2"],
        "pyramid.superresolve(image, 2)",
        lambda: [
            photo("02-launch.jpg").crop((50, 250, 300, 400)).resize((500, 300), Image.Resampling.BICUBIC),
            result("superres", "02-launch.jpg").crop((100, 500, 600, 800)),
        ],
        "a part of the photograph, twice as large: bicubic, and `superres`.",
    ),
    Demo(
        "harmonize",
        PHOTOS / "02-launch.jpg",
        ["--target", str(INPUTS / "cup.png"), "--mask", str(INPUTS / "cup-mask.png")],
        "pyramid.harmonize(image, composite, mask)",
        lambda: [given("cup.png"), given("cup-mask.png"), result("harmonize", "02-launch.jpg")],
        "a cup pasted into a night scene, the mask, and the cup in the colours of the scene.",
    ),
    Demo(
        "paint",
        PHOTOS / "02-launch.jpg",
        ["--target", str(INPUTS / "painting.png"), "--sweep"],
        "pyramid.paint(image, painting)",
        lambda: [
            given("painting.png"),
            result("paint", "02-launch.jpg"),
            result("paint", "02-launch.jpg", "-sweep.png"),
        ],
        "a painting of rectangles, the result, and the results of all start scales, coarsest first. Finer starts stay "
        "closer to the painting.",
    ),
    Demo(
        "edit",
        PHOTOS / "02-launch.jpg",
        ["--target", str(INPUTS / "two-rockets.png")],
        "pyramid.edit(image, edited)",
        lambda: [photo("02-launch.jpg"), given("two-rockets.png"), result("edit", "02-launch.jpg")],
        "the photograph, a rectangle of it copied to the right with its seams in the sky, and the seams drawn "
        "again. No mask is given: it is the difference of the two.",
    ),
    Demo(
        "style",
        PHOTOS / "02-launch.jpg",
        ["--target", str(PHOTOS / "06-cat.jpg"), "--sweep"],
        "pyramid.style(image, content)",
        lambda: [
            *(photo("02-launch.jpg"), photo("06-cat.jpg"), result("style", "02-launch.jpg")),
            result("style", "02-launch.jpg", "-sweep.png"),
        ],
        "the style, the content, the result, and the results of all start scales: from the launch to a cat of it.",
    ),
    Demo(
        "translate",
        PHOTOS / "02-launch.jpg",
        ["--target", str(PHOTOS / "05-galaxies.jpg")],
        "pyramid.translate(image, other)",
        lambda: [
            *(photo("02-launch.jpg"), photo("05-galaxies.jpg"), result("translate", "02-launch.jpg")),
            result("translate", "02-launch.jpg", "-saliency.png"),
        ],
        "the trained image, the image that chains start at, the result, and the map of what the chains changed.",
    ),
    Demo(
        "inpaint",
        INPUTS / "torn.png",
        ["--mask", str(INPUTS / "hole.png"), "--truth", str(PHOTOS / "01-bricks.jpg")],
        "pgcn.fit(image, mask=mask).inpaint(image, mask)",
        lambda: [given("torn.png"), result("inpaint", "torn.png"), photo("01-bricks.jpg")],
        "bricks with a hole, the result of a pyramid trained on all pixels but the hole, and the truth.",
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
        "the image, the same with a piece of gravel, and the distance that chains move each pixel. The mask is for the "
        "metric only.",
    ),
    Demo(
        "recover",
        PHOTOS / "07-coffee.jpg",
        ["--target", str(INPUTS / "blurred.png"), "--truth", str(PHOTOS / "07-coffee.jpg")],
        "pyramid.restore(image, corrupted)",
        lambda: [given("blurred.png"), result("recover", "07-coffee.jpg"), photo("07-coffee.jpg")],
        "blurred, restored, and the truth.",
    ),
)


def in_a_row(pictures: Sequence[Picture]) -> Picture:
    """Images of one height in a row, on white."""
    made = [x.resize((round(x.width * HEIGHT / x.height), HEIGHT), Image.Resampling.LANCZOS) for x in pictures]
    sheet = Image.new("RGB", (sum(x.width + GAP for x in made) - GAP, HEIGHT), "white")
    left = 0
    for x in made:
        sheet.paste(x, (left, 0))
        left += x.width + GAP
    return sheet


@dataclass(frozen=True)
class Measured:
    """Metrics of a demo's result, seconds of one core without training, and its size in words."""

    metrics: dict[str, float]
    seconds: float
    size: str


def run(demo: Demo) -> Measured:
    """Run a demo's command in this process; once more where the first one trained a pyramid, to time the task alone."""
    print("pgcn", shlex.join(demo.command), flush=True)
    trained, seconds = kept_pyramids(), once(demo)
    if kept_pyramids() != trained:
        seconds = once(demo)
    metrics: dict[str, float] = json.loads(demo.stem.with_name(demo.stem.name + ".json").read_text())
    made = next(path for ending in (".png", "-0.png", ".webp") if (path := Path(f"{demo.stem}{ending}")).exists())
    with Image.open(made) as picture:
        measured = Measured(metrics, seconds, f"{picture.width}x{picture.height} px")
    print(f"  {measured.size}, {seconds:.1f} s", flush=True)
    return measured


def kept_pyramids() -> set[Path]:
    """Files of pyramids that are kept."""
    return set(OUT.rglob("*.safetensors"))


def once(demo: Demo) -> float:
    """Run a demo's command; returns the seconds of processor time. It replaces no file, so that earlier ones go."""
    for earlier in OUT.glob(f"{demo.stem.name}[-.]*"):
        earlier.unlink()
    began = time.process_time()
    with redirect_stdout(io.StringIO()) as said:
        code = app(demo.command, standalone_mode=False)
    if code:
        raise SystemExit(f"{said.getvalue()}\nthe command ended with {code}")
    return time.process_time() - began


def section(demo: Demo, measured: Measured) -> tuple[str, bool]:
    """A demo's part of the page, and True if its metric is better than its baseline."""
    task = all_tasks()[demo.task]
    assert task.criterion is not None
    criterion, metrics = task.criterion, measured.metrics
    passes = criterion.passes(metrics)
    better = f"{criterion.better.capitalize()} is better."
    figures = (
        f"`{criterion.metric}`: {metrics[criterion.metric]:.3g}; "
        f"the baseline `{criterion.baseline}`: {metrics[criterion.baseline]:.3g}."
    )
    verdict = "" if passes else " **Not better than the baseline.**"
    text = f"""## {demo.task}: {task.summary}

![{demo.caption}](tasks/{demo.task}.webp)

*{demo.caption[0].upper()}{demo.caption[1:]}*

```
pgcn {shlex.join(demo.command)}
```

```python
{demo.python}
```

{figures}
{better}{verdict}

Result: {measured.size}; {measured.seconds:.1f} s of one core, without the training.
"""
    return text, passes


def overview() -> str:
    """A table of all tasks: summary, inputs besides the image, metric."""
    rows = ["| task | use | inputs | metric |", "|---|---|---|---|"]
    for demo in DEMOS:
        task = all_tasks()[demo.task]
        assert task.criterion is not None
        inputs = [name if name in task.needs else f"({name})" for name in ("target", "mask") if getattr(task, name)]
        inputs += ["(truth)"] if task.truth else []
        rows.append(f"| `{task.name}` | {task.summary} | {', '.join(inputs)} | `{task.criterion.metric}` |")
    return "\n".join(rows) + "\n\nInputs in brackets are optional.\n"


def benchmark_section(title: str, name: str, text: str, table: str) -> str:
    """One table of benchmarks as a section of the page."""
    return f"## Results: {title}\n\n{text}\n\n{table}\n\n`python -m {name} --keep {OUT}`\n"


def tables() -> list[str]:
    """The tables of benchmarks, each with the command that prints it."""
    found = []
    for title, module, text in BENCHMARKS:
        print(f"python -m {module.__name__} --keep {OUT}", flush=True)
        table, _ = module.table(OUT)
        found.append(benchmark_section(title, module.__name__, text, table))
    return found


BENCHMARKS = (
    ("inpainting", inpainting, INPAINTING),
    ("restoration", recovery, RECOVERY),
    ("anomalies", foreign_squares, ANOMALIES),
    ("super-resolution by a factor of four", superres, SUPERRES),
)


def main() -> int:
    """Make the page; with `--pictures`, all but the tables of benchmarks, which stay as they are."""
    torch.set_num_threads(1)
    make_inputs()
    PICTURES.mkdir(parents=True, exist_ok=True)
    parts, failed = [HEAD, overview(), DETAILS], []
    for demo in DEMOS:
        text, passes = section(demo, run(demo))
        in_a_row(demo.shown()).save(PICTURES / f"{demo.task}.webp", quality=85)
        parts.append(text)
        failed += [] if passes else [demo.task]
    if set(all_tasks()) - {demo.task for demo in DEMOS}:
        raise SystemExit("a task has no image on the page")
    if "--pictures" in sys.argv:
        there = PAGE.read_text()
        measured = [there[there.index("## Results: inpainting") : there.index(TAIL.splitlines()[0])]]
    else:
        measured = tables()
    PAGE.write_text("\n".join([*parts, BUCKET, *measured, TAIL]))
    print(f"{PAGE} is made." if not failed else f"Not better than the baseline: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
