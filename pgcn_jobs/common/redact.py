"""Redaction: removes home folders and credentials from text before it is stored."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_SECRET_NAMES = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|CREDENTIAL|ACCOUNT_KEY", re.IGNORECASE)
# User name and password. A password may contain a slash, but digits before a slash are a port.
_USERINFO = re.compile(r"(?<=://)(?:[^/\s@'\"]+@|[^/\s@'\":]+:(?!\d*/)[^\s@'\"]+@)")
_QUERY = re.compile(r"(?<=://)([^\s?'\"]+)\?[^\s'\"]+")


def holds_secret(text: str) -> bool:
    """True if `text` contains the value of a secret environment variable."""
    return any(value in text for value in _secrets())


def redact(text: str) -> str:
    """`text` without home paths, values of secret environment variables, passwords in URLs and queries of URLs."""
    for value in _secrets():
        text = text.replace(value, "***")
    text = _QUERY.sub(r"\1?***", _USERINFO.sub("***@", text))
    # The installation first: it is often below the home folder.
    for folder, short in ((sys.prefix, "<venv>"), (str(Path(__file__).parents[2]), "<pgcn>"), (str(Path.home()), "~")):
        if len(folder) > 1:
            text = text.replace(folder, short)
    return text


def _secrets() -> list[str]:
    """Values of secret environment variables, except those of fewer than six characters, which may be plain words."""
    return [value for name, value in os.environ.items() if _SECRET_NAMES.search(name) and len(value) >= 6]
