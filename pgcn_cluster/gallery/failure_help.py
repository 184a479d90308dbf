"""Help on each failure class: its meaning for the owner of the images, and the remedy."""

from __future__ import annotations

from typing import NamedTuple

from pgcn_jobs.common.failures import FailureClass


class Help(NamedTuple):
    """Two sentences: what happened, and what to do."""

    meaning: str
    action: str


HELP: dict[str, Help] = {
    FailureClass.INPUT: Help(
        "The image could not be used: unreadable, too small, too large, or changed while the run went on.",
        "Mend or replace the file and run the same command again; the finished images are kept.",
    ),
    FailureClass.CONFIG: Help(
        "The settings of this image do not fit together.",
        "Correct the setting that the message names, in the command or in the manifest, and run again.",
    ),
    FailureClass.NUMERIC: Help(
        "Training diverged, and did so again with another seed and half the step. Nothing of it is kept.",
        "Try a smaller step_size or learning_rate for this image. Flat or nearly empty images do this most.",
    ),
    FailureClass.GPU_OOM: Help(
        "The GPU's memory was too small, also with the GPU to itself.",
        "Lower max_size or chains, or use a GPU with more memory.",
    ),
    FailureClass.HOST_OOM: Help(
        "The machine's memory was too small, also with twice the first share.",
        "Run fewer images at a time on each machine, or lower max_size.",
    ),
    FailureClass.PREEMPTED: Help(
        "The machine was taken away before the image was done.",
        "Run the same command again: the image goes on from its last checkpoint.",
    ),
    FailureClass.WORKER_LOST: Help(
        "The process that trained this image disappeared, several times.",
        "Look at the machine's own log for memory or hardware trouble, then run again.",
    ),
    FailureClass.TIMEOUT: Help(
        "Training gave no sign of life for longer than allowed, twice.",
        "Allow more time, or lower max_size or iterations for this image.",
    ),
    FailureClass.STORE: Help(
        "The storage refused to read or write after many tries.",
        "Check access rights, free space and the network, then run again.",
    ),
    FailureClass.PYRAMID: Help(
        "The edit needs the pyramid of its image, which could not be trained, or was damaged since.",
        "See the failure of the image itself. Once its pyramid is there, the same command makes the edit too.",
    ),
    FailureClass.BUG: Help(
        "Something went wrong that pgcn does not know: most likely a mistake in pgcn.",
        "Please report it, with the message and the record under failures/ in the run.",
    ),
}

UNKNOWN = Help(
    "A kind of failure that this version of pgcn does not know.",
    "Build the gallery with the version of pgcn that made the run.",
)
