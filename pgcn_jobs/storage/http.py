"""Reads from untrusted http(s) servers, with limits of size and time, and without access to this machine's services.

The check applies to the address of the connection, so a redirect or a DNS name cannot circumvent it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from typing import Any, cast

import aiohttp
from aiohttp.connector import AddrInfoType
from fsspec import AbstractFileSystem
from fsspec.asyn import sync

TOTAL_S = 600.0
"""Time limit of one whole file, s."""

SLOW_S = 30.0
"""Time after which a server must have answered, and have sent `SLOWEST` on the average, s."""

SLOWEST = 2_000
"""Least rate of a server, bytes a second: one that sends a byte now and then would hold a thread for `TOTAL_S`."""

# Metadata services of clouds, which give out credentials, have these addresses besides the link-local ones.
_METADATA = frozenset({"100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"})


class SlowServer(OSError):
    """The server sends a byte now and then."""


class ForbiddenAddress(OSError):
    """The address is a metadata service, or this machine without being named in the URL."""

    @staticmethod
    def within(error: BaseException) -> bool:
        """True if this is the cause of a failed connection."""
        return isinstance(getattr(error, "os_error", error), ForbiddenAddress)


def is_this_machine(host: str) -> bool:
    """True if a URL's host, with or without a port, names this machine, for example `localhost`."""
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    name = name.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        # The system also reads 127.1, 0x7f000001 and 2130706433 as 127.0.0.1.
        address = ipaddress.ip_address(name) if ":" in name else ipaddress.ip_address(socket.inet_aton(name))
    except (ValueError, OSError):
        return False
    return _loops_back(address)


def client(host: str) -> Any:
    """The factory of fsspec's HTTP sessions for `host`, which refuses connections to forbidden addresses."""
    own = is_this_machine(host)

    def guarded(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
        found = getattr(found, "ipv4_mapped", None) or found
        if found.is_link_local or str(found) in _METADATA or (_loops_back(found) and not own):
            raise ForbiddenAddress
        return socket.socket(family, kind, protocol)

    async def session(**options: Any) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(socket_factory=guarded)
        # No decompression: a few kilobytes may expand to any size.
        return aiohttp.ClientSession(connector=connector, auto_decompress=False, **options)

    return session


def read_web(fs: AbstractFileSystem, url: str, most: int) -> bytes:
    """The first `most` bytes of a page. Raises the errors of fsspec and aiohttp, `ForbiddenAddress`, `SlowServer`."""
    return cast(bytes, sync(fs.loop, _read, fs, url, most))


async def _read(fs: AbstractFileSystem, url: str, most: int) -> bytes:
    session = await fs.set_session()
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as open_until_end:
        try:
            # Headers may come a byte at a time, too.
            request = session.get(fs.encode_url(url), headers={"Accept-Encoding": "identity"})
            answer = await asyncio.wait_for(open_until_end.enter_async_context(request), SLOW_S)
        except TimeoutError as error:
            raise error if isinstance(error, aiohttp.ServerTimeoutError) else SlowServer() from None
        if answer.status == 404:
            raise FileNotFoundError(url)
        answer.raise_for_status()
        pieces, left = [], most
        async for piece in answer.content.iter_chunked(2**20):
            pieces.append(piece[:left])
            left -= len(pieces[-1])
            if left <= 0:
                break
            taken = time.monotonic() - began
            if taken > SLOW_S and (most - left) / taken < SLOWEST:
                raise SlowServer
    return b"".join(pieces)


def _loops_back(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)
