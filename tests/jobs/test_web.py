"""Pages of servers that mean harm: endless, packed, slow, or leading to where only this machine may look."""

from __future__ import annotations

import gzip
import http.server
import socket
import time
from urllib.parse import quote, unquote

import pytest

import pgcn_jobs.storage.http
from pgcn_jobs.common.failures import InputError, StoreError
from pgcn_jobs.inputs.source_bytes import read_source
from tests.servers import serving


class Hostile(http.server.BaseHTTPRequestHandler):
    """One page for each kind of harm."""

    def do_GET(self):
        kind, _, rest = self.path[1:].partition("/")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", unquote(rest))
            self.end_headers()
            return
        if kind == "silent":
            time.sleep(3)
        self.send_response(200)
        if kind == "packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if kind == "packed":
            self.wfile.write(gzip.compress(bytes(5_000_000)))
        elif kind == "endless":
            try:
                while True:
                    self.wfile.write(bytes(65536))
            except OSError:
                return

        elif kind == "trickle":
            try:
                for _ in range(200):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            except OSError:
                return

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with serving(Hostile) as address:
        yield f"http://{address}"


def why(url, **how):
    with pytest.raises(InputError) as caught:
        read_source(url, "x.png", **how)
    return str(caught.value)


def test_no_more_is_taken_than_was_asked_for(server):
    assert "larger than 1000000 bytes" in why(f"{server}/endless", max_bytes=1_000_000)
    assert len(read_source(f"{server}/packed", "x.png")) < 10_000, "a few bytes stay a few bytes"


@pytest.mark.parametrize("kind", ["trickle", "silent"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server, monkeypatch, kind):
    monkeypatch.setattr(pgcn_jobs.storage.http, "SLOW_S", 0.3)
    with pytest.raises(StoreError, match=r"Cannot use x.png: its server sends less than 2 kB a second"):
        read_source(f"{server}/{kind}", "x.png")


@pytest.mark.parametrize("address", ["169.254.169.254", "[fe80::1]", "100.100.100.200", "[::ffff:169.254.169.254]"])
def test_metadata_services_are_never_asked(server, address):
    if "::" not in address:  # which begins a chain of storages
        assert "metadata service" in why(f"http://{address}/latest/meta-data/")
    there = quote(f"http://{address}/latest/", safe="")
    assert "metadata service" in why(f"{server}/to/{there}")


def test_a_name_that_leads_to_this_machine_does_not(server, monkeypatch):
    """A name server may answer anything: only a host that says it is this machine may be it."""
    port = int(server.rpartition(":")[2])
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **how: answer)
    assert "this machine's own addresses" in why(f"http://images.example:{port}/packed")


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://h:99999999/", "http:///a.png"])
def test_addresses_that_are_none(url):
    assert why(url).startswith("x.png cannot be read: ")
