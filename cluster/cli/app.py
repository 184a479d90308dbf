"""The command line. Each command says what went wrong in a sentence, and never in a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cluster.monitor.snapshot import summary, view
from cluster.monitor.status import Status, failed_for_good, find_image, require_run
from cluster.monitor.status import status as read_status
from cluster.scheduler.stopping import Limits, StopSignal
from jobs.common.failures import ConfigError, JobError
from jobs.common.terminal_text import terminal_safe, terminal_safe_lines
from jobs.run_folder.commit import committed
from jobs.run_folder.edit_manifest import read_edits
from jobs.run_folder.manifest import read_manifest
from jobs.spec import MAX_SEED
from jobs.storage.outputs import write_file
from jobs.storage.store import Store
from pgcn.settings import SettingsError

app = typer.Typer(
    name="pgcn",
    help="One generative model per image, for a folder or bucket of images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(soft_wrap=True)

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URL, as it was given to --out.")]
Setting = Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="Any setting; repeatable.")]


@app.command()
def run(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES…", help="Files, folders, globs, URLs, or a CSV or Parquet with a uri column."),
    ],
    out: Annotated[str | None, typer.Option(metavar="RUN", help="Where results go: a folder or any URL.")] = None,
    preset: Annotated[str | None, typer.Option(help="draft (64 px), small (128), best or paper (250).")] = None,
    set_: Setting = [],  # noqa: B006 - typer copies it
    config: Annotated[Path | None, typer.Option(help="A YAML file of options and settings.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Samples of each size.")] = None,
    size: Annotated[
        list[str] | None, typer.Option(metavar="WxH", help="320x200 px, or 2x1 times the image; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Of training and sampling.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first N images.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    gpus_per_job: Annotated[float | None, typer.Option(help="1, or a share 1/n of a GPU.")] = None,
    cpus_per_job: Annotated[float | None, typer.Option(help="CPU cores, and threads, for a job.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="A Ray cluster; else RAY_ADDRESS, else a local Ray.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed images again.")] = False,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Refuse larger images.")] = None,
    checkpoint_seconds: Annotated[float | None, typer.Option(min=0.1, help="Between restart points.")] = None,
    jobs_per_worker: Annotated[
        int | None, typer.Option(min=1, help="A worker process is replaced after so many.")
    ] = None,
    stack: Annotated[
        int | None, typer.Option(min=1, help="Images of equal size that one worker trains side by side.")
    ] = None,
    allow_local: Annotated[
        bool, typer.Option("--allow-local", help="A list from a bucket may name files of the workers' machines.")
    ] = False,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Do this with each image's model; `pgcn tasks` lists them.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="FILE", help="The task's second picture; {stem} and {name} are the image's.")
    ] = None,
    mask: Annotated[
        str | None, typer.Option(metavar="FILE", help="White where something is to be done: masks/{stem}.png")
    ] = None,
    truth: Annotated[
        str | None, typer.Option(metavar="FILE", help="What the result should be, for the figures alone.")
    ] = None,
    pyramids: Annotated[
        str | None, typer.Option(metavar="RUN", help="A run whose models are used where it has them.")
    ] = None,
    job_timeout: Annotated[float, typer.Option(min=1, help="Seconds for one image.")] = Limits.job_s,
    silence_timeout: Annotated[float, typer.Option(min=1, help="Seconds without a sign of life.")] = Limits.silence_s,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and write nothing.")] = False,
) -> None:
    """Train one model per image, draw samples, and build tables and a gallery.

    The same command again does only what is missing. Exit codes: 0 all done, 2 bad command or settings,
    3 some images failed, 4 stopped by trouble that is everywhere, 130 interrupted.
    """
    # Ray and torch take seconds to import: only the commands that use them pay for that.
    from cluster.cli.run_summary import say_summary
    from cluster.launch import run as launch
    from cluster.planning.dry_run import dry_run as show_plan
    from cluster.planning.options import request_of

    request = request_of(context.params)
    if dry_run:
        show_plan(request, console)
        return
    code = launch(request, console, StopSignal())
    if code in (0, 3):
        say_summary(request.out, console)
    raise typer.Exit(int(code))


Address = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", metavar="URL", help="The dashboard of a Ray cluster, as http://HOST:8265."
    ),
]


@app.command(context_settings={"ignore_unknown_options": True})
def submit(
    arguments: Annotated[
        list[str], typer.Argument(metavar="IMAGES… --out RUN …", help="As for `pgcn run`, with all its options.")
    ],
    address: Address,
    wheel: Annotated[
        Path | None, typer.Option(help="Send this wheel's code along, or a checkout's: else the cluster has pgcn.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Stay, say what the run says, and end as it ends.")] = False,
) -> None:
    """Send a run to a Ray cluster as a job, after a look at the cluster; the same run again is found."""
    from cluster.planning.options import request_of
    from cluster.submission.submit import submit as send

    parsed = _parsed("run", arguments)
    if parsed["dry_run"]:
        raise ConfigError("A dry run is not sent to a cluster: use `pgcn run --dry-run`.")
    raise typer.Exit(send(request_of(parsed), address, wheel, console, follow=follow))


def _parsed(command: str, arguments: list[str]) -> dict[str, Any]:
    """The parameters that a command of this program would get."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group.commands[command].make_context(f"pgcn {command}", arguments).params


@app.command(hidden=True)
def preflight(wanted: Annotated[str, typer.Argument(help="As JSON.")]) -> None:
    """Say, on a cluster, what a run would find there."""
    from cluster.submission.preflight import MARK, Wanted, look

    print(MARK + look(Wanted.model_validate_json(wanted)).model_dump_json())


@app.command()
def cancel(run: Run, address: Address) -> None:
    """Stop a run that was submitted; its workers write restart points, and the same command goes on."""
    from cluster.submission.cancel import cancel as stop

    stop(run, address, console)


@app.command()
def status(
    run: Run,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, once.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show it live until the run ends.")] = False,
) -> None:
    """Say how a run stands, from its bucket alone: also while it goes on elsewhere."""
    if as_json and watch:
        raise ConfigError("--json says once how the run stands, and --watch stays: give one of them.")
    store = Store(run)
    current = read_status(store)
    if as_json:
        print(json.dumps(current.model_dump(mode="json"), indent=1))
        return
    if not watch:
        _print_status(current)
        return
    import time

    with Live(console=console, auto_refresh=False, transient=True) as live:
        while current.progress is not None:
            live.update(view(current.progress), refresh=True)
            time.sleep(5)
            current = read_status(store)
    _print_status(current)


def _print_status(current: Status) -> None:
    console.print(
        terminal_safe(f"{current.run}: {current.state}, preset {current.preset}, begun {current.created_at}"),
        highlight=False,
        markup=False,
    )
    asked = [f"{current.images} images", *([f"{current.edits} edits"] if current.edits else [])]
    parts = [*asked, f"{current.done} done", f"{current.failed} failed", f"{current.waiting} left"]
    console.print(", ".join(parts), highlight=False)
    for name, count in current.failures.items():
        console.print(f"  {name}: {count}", highlight=False)
    if current.progress:
        console.print(summary(current.progress), highlight=False)
        console.print(view(current.progress))


@app.command()
def failures(
    run: Run, as_json: Annotated[bool, typer.Option("--json", help="As JSON, with tracebacks.")] = False
) -> None:
    """List the images that failed or were refused, and why."""
    store = Store(run)
    require_run(store)
    asked = {image_id: entry.job_id for image_id, entry in sorted(read_manifest(store).items())}
    edits = {edit_id: entry.job_id for edit_id, entry in sorted(read_edits(store).items())}
    failed = failed_for_good(store, {*asked.values(), *edits.values()}, committed(store))
    found = [
        (name, key, failed[job])
        for key, jobs in (("image_id", asked), ("edit_id", edits))
        for name, job in jobs.items()
        if job in failed
    ]
    if as_json:
        print(json.dumps([{key: name, **f.model_dump(mode="json")} for name, key, f in found], indent=1))
        return
    if not found:
        console.print("No image has failed.")
        return
    table = Table("image", "failure", "why", box=None, header_style="bold")
    for name, _, failure in found:
        table.add_row(*(escape(terminal_safe(text)) for text in (name, str(failure.failure), failure.message)))
    console.print(table)
    console.print("`pgcn run` with the same options and --retry tries them again.", highlight=False)


@app.command()
def sample(
    run: Run,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image_id, a job id, or a part only one has.")],
    size: Annotated[list[str] | None, typer.Option(metavar="WxH", help="320x200 px, or 2x1; repeatable.")] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=10_000, help="Samples of each size.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Sample i is that of seed + i.")] = 0,
    start_scale: Annotated[int, typer.Option(min=0, help="Begin finer: nearer to the image, less diverse.")] = 0,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where the PNG files go: a folder or URL.")] = "samples",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Draw new samples from a trained model: any size and aspect ratio, no training."""
    from cluster.one_image.sample import draw_samples

    store = Store(run)
    require_run(store)
    entry = find_image(store, image)
    for path in draw_samples(store, entry, size or ["1x1"], count, seed, start_scale, out, device):
        print(path)


@app.command()
def apply(
    task: Annotated[str, typer.Argument(metavar="TASK", help="One of those that `pgcn tasks` lists.")],
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="A file or URL: what the pyramid has learned, or will.")
    ],
    target: Annotated[
        str | None, typer.Option(metavar="FILE", help="The second picture: composite, painting, content, …")
    ] = None,
    mask: Annotated[str | None, typer.Option(metavar="FILE", help="White where something is to be done.")] = None,
    truth: Annotated[
        str | None, typer.Option(metavar="FILE", help="What the result should be, for the figures alone.")
    ] = None,
    out: Annotated[
        str, typer.Option(metavar="PLACE", help="A folder or URL, or the result's own PNG file.")
    ] = "applied",
    pyramids: Annotated[
        str | None, typer.Option(metavar="RUN", help="A run, or an earlier --out, whose pyramids are used.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Of a training: draft (64 px), small (128), best or paper (250).")
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="Any option of the task, or setting; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Of training and task; else 0.")] = None,
    start_scale: Annotated[
        int | None, typer.Option(min=0, help="Where chains begin; else the best by measure.")
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also a contact sheet of all start scales.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Use a pyramid of one image: a task on it, from files to files. What was trained once is used again."""
    from cluster.one_image.apply import Asked
    from cluster.one_image.apply import apply as do
    from cluster.planning.options import merged, parse_pairs

    pairs = merged(parse_pairs(set_), {"seed": seed, "start_scale": start_scale, "sweep": sweep or None})
    asked = Asked(task, image, target, mask, truth, pairs, preset, pyramids, out, device)
    try:
        written = do(asked, console)
    except ValueError as error:
        if isinstance(error, SettingsError):
            raise
        raise ConfigError(str(error)) from None
    for path in written:
        print(path)


@app.command()
def tasks(
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Say its inputs and options.")] = None,
) -> None:
    """List what a pyramid can be used for; of one task, its inputs and options."""
    from cluster.one_image.task_help import say_task, say_tasks
    from pgcn.tasks.task import TaskError

    try:
        say_tasks(console) if task is None else say_task(task, console)
    except TaskError as error:
        raise ConfigError(str(error)) from None


@app.command()
def gather(run: Run) -> None:
    """Build the run's tables from its records; at any moment, also while it goes on."""
    from cluster.tables.build import build_tables

    store = Store(run)
    require_run(store)
    found = build_tables(store)
    for name, rows in found.rows.items():
        console.print(f"{name}: {rows} rows", highlight=False)
    for problem in found.problems:
        console.print(f"Left out: {terminal_safe(problem)}.", highlight=False, markup=False)
    if found.problems:
        raise typer.Exit(3)


@app.command()
def gallery(run: Run) -> None:
    """Build the run's gallery from its tables."""
    from cluster.gallery import build_gallery
    from cluster.tables.build import build_tables, is_current, records_now

    store = Store(run)
    require_run(store)
    if not is_current(store, records_now(store)):
        build_tables(store)
    print(build_gallery(store))


@app.command()
def verify(
    run: Run,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is damaged, build tables and gallery anew.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes alone; read no artifact.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check that all a run says is true: commits, what they name, tables. Exit codes: 0 sound, 3 not."""
    from cluster.maintenance.report import report_verification

    raise typer.Exit(report_verification(Store(run), console, quick=quick, mend=repair, as_json=as_json))


@app.command()
def gc(
    run: Run,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Of attempts: longer than any job takes; 36h, 7d.")
    ] = "24h",
) -> None:
    """Remove what a run needs no more: never anything that a commit names."""
    from cluster.maintenance.report import report_garbage

    report_garbage(Store(run), console, older_than=older_than, dry_run=dry_run)


@app.command()
def doctor(url: Annotated[str, typer.Argument(metavar="URL", help="A folder or bucket, as for --out.")]) -> None:
    """Try what a storage does, and say what follows for a run. Exit codes: 0 usable, 2 not usable."""
    from cluster.maintenance.report import report_storage

    raise typer.Exit(report_storage(url, console))


@app.command()
def query(
    run: Run,
    sql: Annotated[str, typer.Argument(metavar="SQL", help='As "SELECT image_id, copy FROM results".')],
    format_: Annotated[
        str | None, typer.Option("--format", help="table, csv, json or parquet; else as --out ends, or a table.")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write here, a file or URL.")] = None,
) -> None:
    """Ask the run's tables with SQL: manifest, results, samples, metrics, edits, pictures, failures, attempts.

    Of two columns with one name, as image_id, the second is called image_id_1.
    """
    from cluster.tables.query import format_of, render
    from cluster.tables.query import query as ask

    wanted = format_of(format_, out)
    data = render(ask(Store(run), sql, _note), wanted, console)
    if data is None:
        return
    if out is not None:
        write_file(out, data)
    else:
        sys.stdout.buffer.write(data)


def main() -> None:
    """The `pgcn` command."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except (JobError, SettingsError) as error:
        _say(str(error))
        sys.exit(2)
    except typer.TyperException as error:
        _say(f"{error.format_message()} `pgcn --help` tells what there is.")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        _say("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


def _note(text: str) -> None:
    """Say something beside an answer, which may be read by a program."""
    Console(stderr=True, soft_wrap=True).print(terminal_safe(text), highlight=False, markup=False)


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(terminal_safe_lines(text), style="red", highlight=False, markup=False)
