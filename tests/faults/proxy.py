"""An S3 server that fails as servers and networks do: a proxy in front of a real one."""

from __future__ import annotations

import http.client
import http.server
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tests.servers import HOST, S3Server

ERRORS = {"500": (500, "InternalError"), "503 SlowDown": (503, "SlowDown")}
_HOP = {"connection", "transfer-encoding", "keep-alive", "expect", "content-length"}
_CONTENTS = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>")

FAULTS = (
    *ERRORS,
    "reset",  # the connection is reset before the request is passed on
    "silence",  # no answer, until the asker gives up
    "cut body",  # the answer says its length, and ends in its middle
    "lost answer",  # what was asked is done, and the connection is reset
    "half stored",  # half of the body is stored, and the connection is reset: no S3, but other servers
    "stale listing",  # what was written since the rule was made is not listed, and what was removed still is
)


@dataclass
class Rule:
    """`fault` for requests whose method and address (path and query, unquoted) fit, the first `skip` of them spared.

    `times`: how many are struck, None for all. None is struck before one that fits `after` has come.
    """

    fault: str
    method: str
    pattern: str
    times: int | None = 1
    skip: int = 0
    after: str = ""
    chance: float = 1.0
    struck: int = 0
    made_at: float = field(default_factory=time.monotonic)
    struck_at: float | None = None
    passed_at: float | None = None  # when such a request was answered well again

    def takes(self, method: str, address: str) -> bool:
        if self.after and re.match(self.after, f"{method} {address}"):
            self.after = ""
        if self.after or not re.fullmatch(self.method, method) or not re.search(self.pattern, address):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if random.random() >= self.chance:
            return False
        if self.times is not None and self.struck >= self.times:
            self.passed_at = self.passed_at or time.monotonic()
            return False
        self.struck += 1
        self.struck_at = self.struck_at or time.monotonic()
        return True

    @property
    def delay_s(self) -> float:
        """From the first strike to the first such request that was let through."""
        assert self.struck_at is not None and self.passed_at is not None, f"{self} did not come to its end"
        return self.passed_at - self.struck_at


class FaultyServer(http.server.ThreadingHTTPServer):
    """The proxy: `rules` may be changed at any time; `asked` has what came, for a look when a test fails."""

    daemon_threads = True

    def __init__(self, behind: S3Server) -> None:
        super().__init__((HOST, 0), _Handler)
        self.behind = behind
        self.rules: list[Rule] = []
        self.asked: list[str] = []
        self.written: dict[str, float] = {}
        self.removed: dict[str, tuple[float, bytes]] = {}
        self.lock = threading.Lock()
        self.healed = threading.Event()

    @property
    def server(self) -> S3Server:
        """The URL of the proxy."""
        return S3Server("faulty", f"http://{HOST}:{self.server_port}", self.behind.bucket)

    def strike(self, fault: str, method: str, pattern: str, *, times: int | None = 1, skip: int = 0) -> Rule:
        """Add a rule."""
        assert fault in FAULTS
        rule = Rule(fault, method, pattern, times, skip)
        self.healed.clear()
        self.rules.append(rule)
        return rule

    def heal(self) -> None:
        """No more faults; whoever waits for an answer is let go."""
        self.rules = []
        self.healed.set()

    def fault_for(self, method: str, address: str) -> Rule | None:
        with self.lock:
            self.asked.append(f"{method} {address}")
            return next((rule for rule in self.rules if rule.takes(method, address)), None)

    def handle_error(self, request, client_address) -> None:
        """Connections that break are what this is for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def handle_any(self) -> None:
        rule = self.server.fault_for(self.command, unquote(self.path))
        fault = rule.fault if rule else None
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            raise AssertionError("the proxy knows no chunked bodies")
        if fault in ERRORS:
            return self._refuse(*ERRORS[fault])
        if fault == "reset":
            return self._reset()
        if fault == "silence":
            self.server.healed.wait(30)
            return self._reset()
        if fault == "half stored":
            body = body[: len(body) // 2]
        status, headers, answer = self._ask(body)
        self._remember(status)
        if fault in ("lost answer", "half stored"):
            return self._reset()
        if fault == "stale listing":
            assert rule is not None
            answer = self._as_of(rule.made_at, answer)
        return self._answer(status, headers, answer, cut=fault == "cut body")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        behind = urlsplit(self.server.behind.endpoint)
        connection = http.client.HTTPConnection(behind.hostname or HOST, behind.port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        connection.request(self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, response.getheaders(), answer

    def _answer(self, status: int, headers: list[tuple[str, str]], answer: bytes, *, cut: bool) -> None:
        self.send_response_only(status)
        length = str(len(answer))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(answer[: len(answer) // 2] if cut else answer)
        if cut:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _refuse(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>planted</Message></Error>".encode()
        self._answer(status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else text, cut=False)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _remember(self, status: int) -> None:
        key = unquote(urlsplit(self.path).path).removeprefix(f"/{self.server.behind.bucket}/")
        if status < 300 and self.command == "PUT":
            self.server.written.setdefault(key, time.monotonic())
        elif status < 300 and self.command == "DELETE":
            entry = b"<Contents><Key>%s</Key><Size>100</Size></Contents>" % key.encode()
            self.server.removed[key] = time.monotonic(), entry

    def _as_of(self, moment: float, answer: bytes) -> bytes:
        """A listing without what was first written since, and with what was removed since."""
        written, removed = self.server.written, self.server.removed

        def old(match: re.Match[bytes]) -> bytes:
            key = _KEY.search(match[0])
            return b"" if key and written.get(key[1].decode(), 0.0) > moment else match[0]

        prefix = re.search(rb"<Prefix>(.*?)</Prefix>", answer)
        ghosts = [
            entry
            for key, (at, entry) in removed.items()
            if at > moment >= written.get(key, 0.0) and prefix and key.encode().startswith(prefix[1])
        ]
        answer = _CONTENTS.sub(old, answer)
        return answer.replace(b"</ListBucketResult>", b"".join(ghosts) + b"</ListBucketResult>")

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def faulty(behind: S3Server) -> Iterator[FaultyServer]:
    """A proxy in front of a server."""
    with FaultyServer(behind) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.heal()
        server.shutdown()
