"""What never leaves the machine: home folders and credentials are taken out of text before it is kept."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_SECRET_NAMES = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|CREDENTIAL|ACCOUNT_KEY", re.IGNORECASE)
# User name and password; a password may hold a slash, but a port before a slash is none.
_USERINFO = re.compile(r"(?<=://)(?:[^/\s@'\"]+@|[^/\s@'\":]+:(?!\d*/)[^\s@'\"]+@)")
_QUERY = re.compile(r"(?<=://)([^\s?'\"]+)\?[^\s'\"]+")


def holds_secret(text: str) -> bool:
    """Whether the value of a secret environment variable is in `text`."""
    return any(value in text for value in _secrets())


def redact(text: str) -> str:
    """`text` without home paths, values of secret environment variables, passwords in URLs, or URLs' queries."""
    for value in _secrets():
        text = text.replace(value, "***")
    text = _QUERY.sub(r"\1?***", _USERINFO.sub("***@", text))
    # The installation first: it often lies below home.
    for folder, short in ((sys.prefix, "<venv>"), (str(Path(__file__).parents[2]), "<pgcn>"), (str(Path.home()), "~")):
        if len(folder) > 1:
            text = text.replace(folder, short)
    return text


def _secrets() -> list[str]:
    """Values of secret environment variables; those too short to tell from words are left out."""
    return [value for name, value in os.environ.items() if _SECRET_NAMES.search(name) and len(value) >= 6]
