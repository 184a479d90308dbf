"""A network of its own for a machine, with one wire to everything else, which can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HOST, MACHINE = "10.233.77.1", "10.233.77.2"


class Network:
    """A network namespace; `name` is what `ip netns` calls it, `address` the machine's in it."""

    address = MACHINE

    def __init__(self) -> None:
        self.name = f"pgcn-{os.getpid()}"
        self._wire = f"pgcn{os.getpid()}"  # at most 15 letters
        _ip("netns", "add", self.name)
        _ip("link", "add", self._wire, "type", "veth", "peer", "name", "out", "netns", self.name)
        _ip("addr", "add", f"{HOST}/30", "dev", self._wire)
        _ip("link", "set", self._wire, "up")
        for words in (
            ("addr", "add", f"{MACHINE}/30", "dev", "out"),
            ("link", "set", "out", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", HOST),
        ):
            _ip("-n", self.name, *words)

    def cut(self) -> None:
        """Nothing goes through any more, in neither direction, and nobody is told."""
        _ip("link", "set", self._wire, "down")

    def remove(self) -> None:
        """The namespace, and the wire with it."""
        _ip("netns", "del", self.name)


@contextmanager
def own_network() -> Iterator[Network]:
    """Skips where this process may not make networks."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network can only be made, and cut, by root, with iproute2")
    try:
        network = Network()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network can be made here: {error.stderr.strip()}")
    try:
        yield network
    finally:
        network.remove()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
