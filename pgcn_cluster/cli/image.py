"""`pgcn sample`, `apply`, `tasks` and `methods`: commands on one image, without Ray."""

from __future__ import annotations

from typing import Annotated

import typer

from pgcn.methods import MethodError
from pgcn.settings import SettingsError
from pgcn.tasks.task import TaskError
from pgcn_cluster.cli.arguments import Device, Methods, Pairs, RunFolder, console
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.spec import MAX_SEED


def sample(
    run: RunFolder,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image_id, a job id, or a unique part of one.")],
    size: Annotated[list[str] | None, typer.Option(metavar="WxH", help="320x200 px, or 2x1; repeatable.")] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=10_000, help="Samples of each size.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed; sample i has the seed SEED + i.")] = 0,
    start_scale: Annotated[
        int, typer.Option(min=0, help="Start at a finer scale: nearer to the image, less diverse.")
    ] = 0,
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder or URL of the PNG files.")] = "samples",
    sampling: Annotated[
        str | None, typer.Option(metavar="WAY", help="chain, generator or both, where the pyramid has generators.")
    ] = None,
    method: Methods = [],  # noqa: B006 - typer copies it
    device: Device = "auto",
) -> None:
    """Draw new samples from a trained pyramid, in any size and aspect ratio."""
    from pgcn_cluster.monitor.status import find_image, require_run
    from pgcn_cluster.one_image.progress import task_progress
    from pgcn_cluster.one_image.sample import SampleRequest, draw_samples
    from pgcn_jobs.storage.store import Store

    store = Store(run)
    require_run(store)
    entries = [find_image(store, image, name) for name in method] or [find_image(store, image)]
    request = SampleRequest(size or ["1x1"], count, seed, start_scale, device, sampling)
    with task_progress("sample", lambda line: typer.echo(line, err=True)):
        for entry in entries:
            for path in draw_samples(store, entry, request, out):
                print(path)


def apply(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task that `pgcn tasks` lists.")],
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="A file or URL of the image that the pyramid is trained on.")
    ],
    target: Annotated[
        str | None, typer.Option(metavar="FILE", help="The second image: composite, painting, content, …")
    ] = None,
    mask: Annotated[str | None, typer.Option(metavar="FILE", help="A mask, white where the task applies.")] = None,
    truth: Annotated[str | None, typer.Option(metavar="FILE", help="The true result, for metrics only.")] = None,
    out: Annotated[
        str, typer.Option(metavar="PATH", help="A folder or URL, or the result's own PNG file.")
    ] = "applied",
    pyramids: Annotated[
        str | None, typer.Option(metavar="RUN", help="A run, or an earlier --out, whose pyramids are used.")
    ] = None,
    method: Methods = [],  # noqa: B006 - typer copies it
    preset: Annotated[
        str | None, typer.Option(help="Preset of a training: draft (to 512 px), small (128), best (2048), paper (250).")
    ] = None,
    set_: Pairs = [],  # noqa: B006 - typer copies it
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Seed of training and task; else 0.")] = None,
    start_scale: Annotated[
        int | None, typer.Option(min=0, help="Scale at which chains start; else the best by metrics.")
    ] = None,
    self_: Annotated[
        bool, typer.Option("--self", help="energy: compare the image with its own other parts; nothing is trained.")
    ] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also write a contact sheet of all start scales.")] = False,
    device: Device = "auto",
    channel: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Further channels of the image; repeatable.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads on a CPU; else OMP_NUM_THREADS, or one.")
    ] = None,
) -> None:
    """Apply a task to one image, from files to files. Its pyramid is trained once, kept, and used again."""
    from pgcn_cluster.one_image.apply import ApplyRequest
    from pgcn_cluster.one_image.apply import apply as do
    from pgcn_cluster.planning.options import merged, parse_pairs
    from pgcn_cluster.planning.task_request import find, parse_channels

    find(task)
    pairs = merged(
        parse_pairs(set_), {"seed": seed, "start_scale": start_scale, "sweep": sweep or None, "self": self_ or None}
    )
    others, channels = (target, mask, truth), parse_channels(channel or ())
    request = ApplyRequest(task, image, *others, pairs, preset, pyramids, out, device, threads, tuple(method), channels)
    try:
        written = do(request, console)
    except ValueError as error:
        if isinstance(error, SettingsError):
            raise
        raise ConfigError(str(error), code=Code.TASK_INVALID) from None
    for path in written:
        print(path)


def tasks(
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Print this task's inputs and options.")] = None,
) -> None:
    """List the tasks; of one task, its inputs and options."""
    from pgcn_cluster.one_image.task_help import say_task, say_tasks

    try:
        say_tasks(console) if task is None else say_task(task, console)
    except TaskError as error:
        raise ConfigError(str(error), code=Code.TASK_UNKNOWN) from None


def methods(
    method: Annotated[str | None, typer.Argument(metavar="METHOD", help="Print this method's settings.")] = None,
) -> None:
    """List the training methods; of one method, its presets and settings."""
    from pgcn_cluster.one_image.method_help import say_method, say_methods

    try:
        say_methods(console) if method is None else say_method(method, console)
    except MethodError as error:
        raise ConfigError(str(error), code=Code.METHOD_UNKNOWN) from None
