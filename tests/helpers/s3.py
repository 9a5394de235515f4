"""An S3 server on loopback, in this process: it counts what it is asked for, and fails when a test wants it to."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from s3fs import S3FileSystem
from werkzeug.serving import make_server

BUCKET = "stores"
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
Answer = Iterable[bytes]
Environ = dict[str, Any]


class Server:
    """What a test sees of the server."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()  # by kind: LIST, GET, HEAD, PUT, POST, DELETE
        self.fault: Callable[[Environ], str | None] = lambda environ: None  # a status line instead of an answer
        self.url = ""
        self._app = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environ, start: Callable[..., Any]) -> Answer:
        """Serves one request."""
        kind = environ["REQUEST_METHOD"]
        if kind == "GET" and "list-type" in environ["QUERY_STRING"]:
            kind = "LIST"
        self.requests[kind] += 1
        status = self.fault(environ)
        if status is None:
            return self._app(environ, start)
        start(status, [("Content-Type", "application/xml")])
        code = "SlowDown" if status.startswith("503") else "AccessDenied"
        return [f"<Error><Code>{code}</Code><Message>{status}</Message></Error>".encode()]


def forget_clients() -> None:
    """Has the next store make a client anew: they keep the address and the keys that they began with."""
    S3FileSystem.clear_instance_cache()


@contextmanager
def serving(patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Runs a server, to which all S3 clients of this process and of those that it starts go."""
    server = Server()
    patch.setattr(logging.getLogger("werkzeug"), "disabled", True)  # a line for each request
    http = make_server("127.0.0.1", 0, server, threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    for name, value in (SETTINGS | {"AWS_ENDPOINT_URL": server.url}).items():
        patch.setenv(name, value)
    try:
        forget_clients()
        urlopen(Request(f"{server.url}/moto-api/reset", method="POST"))  # what an earlier server of this process had
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
