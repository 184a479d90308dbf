"""URLs of storage: their public form, local path and protocol, and fsspec filesystems with time limits."""

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

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError, StoreError
from pgcn_jobs.storage.http import TOTAL_S, client

# Time limits of one request, seconds: for the connection, and for the next byte of the response.
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 15
# Immediate attempts of botocore; `pgcn_jobs.storage.errors.with_retries` adds later ones.
REQUEST_ATTEMPTS = 2

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_LOCAL = re.compile(r"(file|local)://", re.IGNORECASE)
_S3 = frozenset({"s3", "s3a"})
_WEB = frozenset({"http", "https"})


def is_local(url: str) -> bool:
    """True if `url` is a path of this machine's filesystem, with or without `file://`."""
    return _LOCAL.match(url) is not None or _REMOTE.match(url) is None


def local_path(url: str) -> Path:
    """The absolute path of a local `url` in the current folder: `~` expanded, `..` resolved, links kept."""
    return Path(os.path.abspath(os.path.expanduser(_LOCAL.sub("", url))))  # noqa: PTH100, PTH111 (Path's keep "..", raise)


def names_local_file(url: str) -> bool:
    """True if `url` is an absolute local path: `/…`, `~/…`, `file://…`."""
    return is_local(url) and (_LOCAL.match(url) is not None or url.startswith(("/", "~/")))


def public_url(url: str) -> str:
    """The public form of `url`: without user name, password and query; local paths unchanged.

    For http the fragment is removed too; elsewhere `#` is part of an object's name.
    """
    if is_local(url):
        return url
    return "::".join(_public_part(part) for part in url.split("::"))


def has_credentials(url: str) -> bool:
    """True if `url` has a user name, a password, or (http and https) a query, which may be a key."""
    if is_local(url):
        return False
    parts = url.split("::")
    return any(_without_userinfo(part) != part or (protocol_of(part) in _WEB and "?" in part) for part in parts)


def is_web(url: str) -> bool:
    """True for http(s): one page, which cannot be listed, and whose query is part of its address."""
    return not is_local(url) and protocol_of(url) in _WEB


def is_hub(url: str) -> bool:
    """True if `url` is on the Hugging Face hub."""
    return protocol_of(url) == "hf"


def is_s3(url: str) -> bool:
    """True if `url` is in S3 or in S3-compatible storage."""
    return protocol_of(url) in _S3


def has_key(url: str) -> bool:
    """True if a remote `url` contains a user name or password."""
    return _without_userinfo(url) != url


def host_of(url: str) -> str:
    """The host of a web `url`, with its port if given; without user name and password."""
    return _without_userinfo(url).partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0].lower()


def driver_problem(url: str) -> str | None:
    """A sentence with the missing package if no filesystem is available for a remote `url`, else None."""
    protocol = protocol_of(url)
    try:
        get_filesystem_class(protocol)
    except ValueError:
        return f"Cannot use {public_url(url)}: there is no kind of storage called {protocol}://; correct the URL."
    except ImportError:
        if is_hub(url):
            return (
                f"Cannot use {public_url(url)}: huggingface_hub is not installed: `pip install 'pgcn[hf]'` on every "
                "machine."
            )
        reason = known_implementations[protocol].get("err", "a package is missing").rstrip(".")
        return f"Cannot use {public_url(url)}: {reason}."
    return None


def read_only_problem(url: str) -> str | None:
    """A sentence if no run can be kept at `url` because of the kind of place, else None."""
    if is_web(url):
        return f"Cannot use {public_url(url)}: a web address can only be read; give a folder or a bucket."
    if is_hub(url) and not url.lower().startswith("hf://buckets/"):
        return (
            f"Cannot use {public_url(url)}: each object written to a repository of the Hugging Face hub is a commit; "
            "give one of its storage buckets (hf://buckets/OWNER/BUCKET/…), a folder or another bucket."
        )
    return None


def filesystem(url: str, options: Mapping[str, Any] | None = None) -> tuple[AbstractFileSystem, str]:
    """A new filesystem for a remote `url`, and the path on it. It caches no listings and has time limits.

    Credentials and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …) or from `options`, the
    keywords of the filesystem. It must not be used in another process.

    Raises `ConfigError` for a key inside an s3 URL or an invalid endpoint, `StoreError` for an unavailable kind of
    storage.
    """
    protocol = protocol_of(url)
    if is_s3(url) and has_key(url):
        raise ConfigError(
            f"Take the key out of the URL of {public_url(url)}; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment instead.",
            code=Code.STORAGE_CREDENTIALS,
        )
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if protocol in _S3 and os.environ.get(name) and not re.match("https?://", os.environ[name]):
            raise ConfigError(
                f"{name} in the environment is not an address: write it as http://… or https://….",
                code=Code.STORAGE_ADDRESS,
            )
    if problem := driver_problem(url):
        raise StoreError(problem, code=Code.STORAGE_UNSUPPORTED)
    asked = dict(options or {})
    defaults = _defaults(url, asked.pop("config_kwargs", {}))
    opened, path = url_to_fs(url, **{**defaults, **asked}, use_listings_cache=False, skip_instance_cache=True)
    if protocol in _S3:
        opened.retries = 1  # botocore retries already; s3fs's five more would take minutes
    return opened, str(path)


def _defaults(url: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords with the time limits; `config` has the user's settings of botocore."""
    if is_s3(url):
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
    if protocol_of(url) in _WEB:
        timeout = aiohttp.ClientTimeout(total=TOTAL_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        return {"client_kwargs": {"timeout": timeout}, "get_client": client(host_of(url).rpartition("@")[2])}
    return {}


def protocol_of(url: str) -> str:
    """The protocol of a URL, as `s3` of `s3://bucket/key`; the outermost one of a chain of filesystems."""
    return re.split("::|://", url, maxsplit=1)[0].lower()


def _public_part(part: str) -> str:
    plain = _without_userinfo(part).partition("?")[0]
    return plain.partition("#")[0] if protocol_of(part) in _WEB else plain


def _without_userinfo(part: str) -> str:
    scheme, mark, rest = part.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        authority = authority.rpartition("@")[2]
    elif "@" in path and re.fullmatch(r"(?!arn:)[^:]*:(?!\d*$).*", authority):
        # A secret key may hold a slash: s3://key:sec/ret@bucket. A port or an ARN's colon is no password.
        authority, slash, path = path.partition("@")[2].partition("/")
    return f"{scheme}{mark}{authority}{slash}{path}"
