"""The length of Unix sockets' paths, which the folder for temporary files decides."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError

MAX_BYTES = 107
"""Most bytes of the path of a Unix socket on Linux."""


def check_socket_path(variables: Sequence[str], below: str) -> None:
    """Raises `ConfigError` where a socket in the folder for temporary files has too long a path.

    The folder is the value of the first of the environment's `variables` that is set; `below` is the rest of the path.
    """
    variable, folder = next(
        ((name, os.environ[name]) for name in variables if os.environ.get(name)), ("TMPDIR", tempfile.gettempdir())
    )
    most = MAX_BYTES - len(os.fsencode(below))
    length = len(os.fsencode(folder))
    if length > most:
        raise ConfigError(
            f"{variable} is {length} bytes long ({folder}), and sockets in that folder can have at most {most}: set "
            f"{variables[0]} to a shorter path, as {variables[0]}=/tmp.",
            code=Code.TEMPORARY_FOLDER,
        )
