"""Exit codes of the `pgcn` command."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit code of a `pgcn` command.

    ABORTED: the storage or the cluster is unavailable, or every image has the same error.
    """

    DONE = 0
    BAD_COMMAND = 2
    SOME_FAILED = 3
    ABORTED = 4
    INTERRUPTED = 130
