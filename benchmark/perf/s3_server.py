"""An S3 server on loopback, in this process: it counts what it is asked for, and fails when its user wants it to.

It is moto's, which only development installs: see `is_installed`.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.request import Request, urlopen

BUCKET, KEY, REGION = "stores", "test", "us-east-1"
SETTINGS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
Answer = Iterable[bytes]
Environ = dict[str, Any]


class Server:
    """What is seen of the server."""

    def __init__(self, app: Callable[[Environ, Callable[..., Any]], Answer]) -> None:
        self.requests: Counter[str] = Counter()  # by kind: LIST, GET, HEAD, PUT, POST, DELETE
        self.fault: Callable[[Environ], str | None] = lambda environ: None  # a status line instead of an answer
        self.url = ""
        self._app = app

    @property
    def settings(self) -> dict[str, str]:
        """What the environment of a client must hold."""
        return SETTINGS | {"AWS_ENDPOINT_URL": self.url}

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


def is_installed() -> bool:
    """Whether there is a server to run: without the `dev` extra there is none."""
    return all(importlib.util.find_spec(name) is not None for name in ("moto", "werkzeug", "boto3", "s3fs"))


def forget_clients() -> None:
    """Has the next store make a client anew: they keep the address and the keys that they began with."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()


@contextmanager
def running() -> Iterator[Server]:
    """Runs a server with an empty bucket; clients whose process has `Server.settings` in its environment go to it."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = Server(DomainDispatcherApplication(create_backend_app))
    http = make_server("127.0.0.1", 0, server, threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": KEY, "region_name": REGION}
    with patch.object(logging.getLogger("werkzeug"), "disabled", True):  # a line for each request
        try:
            forget_clients()
            urlopen(Request(f"{server.url}/moto-api/reset", method="POST"))  # what an earlier one of this process had
            boto3.client("s3", endpoint_url=server.url, **keys).create_bucket(Bucket=BUCKET)
            yield server
        finally:
            http.shutdown()
            thread.join()
            http.server_close()
