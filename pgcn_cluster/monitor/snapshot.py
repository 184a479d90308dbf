"""Snapshot of a run's progress, which the driver writes to the run folder, and its text forms."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from rich.console import Group
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pgcn_jobs.common.terminal_text import terminal_safe

SHOWN_LANES = 16


class Lane(BaseModel):
    """One image in training. `rate` is in iterations a second, `done` the completed share of the job's work."""

    model_config = ConfigDict(frozen=True)

    image_id: str
    scale: int
    scales: int
    iteration: int
    iterations: int
    rate: float
    done: float


class Snapshot(BaseModel):
    """Progress of a run. `state` is "running" or "ended"; `eta_s` is the time left in seconds, None while unknown.

    `lanes` are the images in training, `making` the ids of the edits in progress, `share` the completed share of the
    work. `unseen` is the number of images that are still to be looked at: the other numbers are without them.
    """

    model_config = ConfigDict(frozen=True)

    state: str
    updated_at: str
    images: int
    done: int
    failed: int
    waiting: int
    unseen: int = 0
    lanes: tuple[Lane, ...] = ()
    making: tuple[str, ...] = ()
    share: float = 0.0
    eta_s: float | None = None


def duration(seconds: float | None) -> str:
    """Seconds as text: "50 s", "12 min", "3 h 20 min", "2 d 4 h"; "not known yet" for None."""
    if seconds is None:
        return "not known yet"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def summary(snapshot: Snapshot) -> str:
    """One line with the numbers of images done, failed, in training and waiting, and the time left."""
    parts = [f"{snapshot.done} of {'at least ' if snapshot.unseen else ''}{snapshot.images} done"]
    if snapshot.failed:
        parts.append(f"{snapshot.failed} failed")
    if snapshot.lanes:
        parts.append(f"{len(snapshot.lanes)} in training")
    if snapshot.making:
        parts.append(f"{len(snapshot.making)} edits in progress")
    if snapshot.waiting:
        parts.append(f"{snapshot.waiting} waiting")
    if snapshot.unseen:
        parts.append(f"{snapshot.unseen} images to be looked at")
    if snapshot.state == "running":
        parts.append(f"{snapshot.share:.0%} of the work, time left: {duration(snapshot.eta_s)}")
    return ", ".join(parts)


def lane_text(lane: Lane) -> str:
    """One image in training as text: scale, iteration, rate and share."""
    return (
        f"{lane.image_id}: scale {lane.scale + 1}/{lane.scales}, iteration {lane.iteration}/{lane.iterations}, "
        f"{lane.rate:.1f}/s, {lane.done:.0%}"
    )


def view(snapshot: Snapshot) -> Group:
    """A snapshot as a rich renderable, for the live view and `pgcn status`."""
    lanes = Table.grid(padding=(0, 2))
    lanes.add_column(overflow="ellipsis", no_wrap=True, max_width=36)
    for _ in range(3):
        lanes.add_column(justify="right", no_wrap=True)
    lanes.add_column(width=20)
    for lane in snapshot.lanes[:SHOWN_LANES]:
        lanes.add_row(
            escape(terminal_safe(lane.image_id)),
            f"scale {lane.scale + 1}/{lane.scales}",
            f"iteration {lane.iteration}/{lane.iterations}",
            f"{lane.rate:.1f}/s",
            ProgressBar(total=1.0, completed=lane.done, width=20),
        )
    for name in snapshot.making[:SHOWN_LANES]:
        lanes.add_row(escape(terminal_safe(name)))
    parts: list[Table | Text | ProgressBar] = [lanes]
    if len(snapshot.lanes) > SHOWN_LANES:
        parts.append(Text(f"and {len(snapshot.lanes) - SHOWN_LANES} more", style="dim"))
    parts += [ProgressBar(total=1.0, completed=snapshot.share), Text(summary(snapshot))]
    return Group(*parts)
