"""What a URL stands for: a name that may be shown, a local path, or a filesystem that gives up in time."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.registry import get_filesystem_class, known_implementations

from jobs.failures import ConfigError, StoreError

# One request waits this long for a connection, and for the next byte of an answer.
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 15
# Of botocore, at once; `jobs.storage_errors.patiently` tries again later, where these failed quickly.
REQUEST_ATTEMPTS = 2

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_LOCAL = re.compile(r"(file|local)://")
_S3 = frozenset({"s3", "s3a"})
_WEB = frozenset({"http", "https"})


def is_local(url: str) -> bool:
    """Whether `url` is a path of this machine's own filesystem, written plainly or as `file://…`."""
    return _LOCAL.match(url) is not None or _REMOTE.match(url) is None


def local_path(url: str) -> Path:
    """The absolute path that a local `url` means here and now: `~` expanded, `..` taken out, links kept."""
    return Path(os.path.abspath(Path(_LOCAL.sub("", url)).expanduser()))  # noqa: PTH100 (absolute() keeps "..")


def public_url(url: str) -> str:
    """`url` as it may be shown and stored: without user name, password and query; local paths as they are.

    A fragment goes too for http; elsewhere `#` is part of an object's name.
    """
    if is_local(url):
        return url
    return "::".join(_public_part(part) for part in url.split("::"))


def has_credentials(url: str) -> bool:
    """Whether `url` says who asks: a user name or password, or, for a page of http(s), a query that may be a key."""
    if is_local(url):
        return False
    parts = url.split("::")
    return any(_without_userinfo(part) != part or (_protocol(part) in _WEB and "?" in part) for part in parts)


def is_web(url: str) -> bool:
    """Whether `url` is one page of http(s): it cannot be listed, and its query belongs to its address."""
    return not is_local(url) and _protocol(url) in _WEB


def is_s3(url: str) -> bool:
    """Whether `url` is spoken to in S3's way."""
    return not is_local(url) and _protocol(url) in _S3


def driver_problem(url: str) -> str | None:
    """Why no filesystem can be had for a remote `url`, as a sentence naming the package to install, or None."""
    protocol = _protocol(url)
    try:
        get_filesystem_class(protocol)
    except ValueError:
        return f"Cannot use {public_url(url)}: there is no kind of storage called {protocol}://; correct the URL."
    except ImportError:
        reason = known_implementations[protocol].get("err", "a package is missing").rstrip(".")
        return f"Cannot use {public_url(url)}: {reason}."
    return None


def filesystem(url: str, options: Mapping[str, Any] | None = None) -> tuple[AbstractFileSystem, str]:
    """A new filesystem for a remote `url`, and the path on it. It caches no listing and waits with a limit.

    Credentials and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …), unless
    `options`, which are the filesystem's own keywords, name others. It belongs to the process that asked.

    Raises `ConfigError` for a key inside an s3 URL or an endpoint that is no address, `StoreError` for a kind of
    storage that cannot be had.
    """
    protocol = _protocol(url)
    if protocol in _S3 and _without_userinfo(url) != url:
        raise ConfigError(
            f"Take the key out of the URL of {public_url(url)}; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment instead."
        )
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if protocol in _S3 and os.environ.get(name) and not re.match("https?://", os.environ[name]):
            raise ConfigError(f"{name} in the environment is not an address: write it as http://… or https://….")
    if problem := driver_problem(url):
        raise StoreError(problem)
    asked = dict(options or {})
    defaults = _defaults(protocol, asked.pop("config_kwargs", {}))
    opened, path = url_to_fs(url, **{**defaults, **asked}, use_listings_cache=False, skip_instance_cache=True)
    if protocol in _S3:
        opened.retries = 1  # botocore has tried already; five times each, a silent server would take minutes
    return opened, str(path)


def _defaults(protocol: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords that bound the waiting; `config` is what the user wants of botocore's own settings."""
    if protocol in _S3:
        bounds = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
        }
        return {
            "config_kwargs": {**bounds, **config},
            "max_concurrency": 1,  # an object is read by one GET, without asking for its size first
            "default_cache_type": "none",  # Parquet readers ask for exact ranges
        }
    if protocol in _WEB:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        return {"client_kwargs": {"timeout": timeout}}
    return {}


def _protocol(url: str) -> str:
    """`s3` of `s3://bucket/key`; of a chain of filesystems, the outermost."""
    return re.split("::|://", url, maxsplit=1)[0].lower()


def _public_part(part: str) -> str:
    plain = _without_userinfo(part).partition("?")[0]
    return plain.partition("#")[0] if _protocol(part) in _WEB else plain


def _without_userinfo(part: str) -> str:
    scheme, mark, rest = part.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        authority = authority.rpartition("@")[2]
    elif "@" in path and re.fullmatch(r"(?!arn:)[^:]*:(?!\d*$).*", authority):
        # A secret key may hold a slash: s3://key:sec/ret@bucket. A port or an ARN's colon is no password.
        authority, slash, path = path.partition("@")[2].partition("/")
    return f"{scheme}{mark}{authority}{slash}{path}"
