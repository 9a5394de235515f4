"""A remote store that fails: what is transient is tried again, the rest is one line and exit code 2."""

from __future__ import annotations

import errno
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from benchmark.errors import UserError
from benchmark.store import access
from benchmark.store.artifacts import Store
from tests.cli.conftest import Call, call  # noqa: F401  (a fixture)
from tests.helpers import s3

SUITE = ("smoke", "--no-probe")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(access, "LONGEST_WAIT_S", 0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Server]:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client itself tries again for seconds
    with s3.serving(monkeypatch) as found:
        yield found


def write(store: Store, key: str = "k1") -> None:
    draft = store.draft("pretrain", key)
    draft.path("model").write_text("weights")
    draft.commit({"epochs": 3})


class Connection(Exception):
    """What a client raises that is no OSError."""


Connection.__name__ = "EndpointConnectionError"

TRANSIENT: dict[str, Callable[[], Exception]] = {
    "busy, as 503 is told": lambda: OSError(errno.EBUSY, "Please reduce your request rate."),
    "connection refused": lambda: ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    "timeout": lambda: TimeoutError("no answer"),
    "a client's own": lambda: Connection("Could not connect"),
}


@pytest.mark.unit
@pytest.mark.parametrize("name", TRANSIENT)
def test_what_is_transient_is_tried_again_and_told_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url, left = f"memory://{uuid.uuid4().hex}", [3]
    write(Store(url))
    store = Store(url)
    fs, _ = fsspec.core.url_to_fs(url)
    real = fs.cat_file

    def failing(path: str) -> bytes:
        left[0] -= 1
        if left[0] > 0:
            raise TRANSIENT[name]()
        return real(path)

    monkeypatch.setattr(fs, "cat_file", failing)
    assert store.facts("pretrain", "k1") == {"epochs": 3}
    (line,) = caplog.messages
    assert line.startswith(f"backstop: store {url} does not answer (")
    assert line.endswith("it is tried again for 120 s")


@pytest.mark.unit
def test_patience_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PATIENCE_S", 0.05)
    url = f"memory://{uuid.uuid4().hex}"
    store = Store(url)

    def busy(path: str) -> bytes:
        raise OSError(errno.EBUSY, "Please reduce\nyour request rate.")

    monkeypatch.setattr(fsspec.core.url_to_fs(url)[0], "cat_file", busy)
    with pytest.raises(UserError, match=r"cannot be reached: .*request rate\.; .* run the same command again") as caught:
        store.facts("pretrain", "k1")
    assert "\n" not in str(caught.value)


@pytest.mark.unit
def test_an_outage_is_never_taken_for_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all that cannot be seen for a minute is made again."""
    monkeypatch.setattr(access, "PATIENCE_S", 0.05)
    url = f"memory://{uuid.uuid4().hex}"
    write(Store(url))
    write(Store(url), "k2")
    store = Store(url)

    def busy(path: str) -> bytes:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(fsspec.core.url_to_fs(url)[0], "cat_file", busy)
    for look in (store.facts_of, store.made):
        with pytest.raises(UserError, match="cannot be reached"):
            look("pretrain", ["k1", "k2"])


@pytest.mark.unit
def test_a_full_disk_of_this_machine_is_no_fault_of_the_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    write(Store(url))
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "full"))

    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", target)

    monkeypatch.setattr(fsspec.core.url_to_fs(url)[0], "get_file", full)
    found = Store(url).find("pretrain", "k1")
    assert found is not None
    with pytest.raises(OSError, match="No space left on device"):
        found.path("model")


@pytest.mark.slow
def test_a_server_that_is_busy_for_a_while_costs_nothing_but_time(server: s3.Server) -> None:
    store = Store(f"s3://{s3.BUCKET}/store")
    write(store)
    until = time.monotonic() + 5
    server.fault = lambda environ: "503 Slow Down" if time.monotonic() < until else None
    assert store.facts("pretrain", "k1") == {"epochs": 3}
    write(store, "k2")
    assert server.requests["GET"] > 4


@pytest.mark.slow
def test_the_command_ends_in_one_line(
    server: s3.Server, call: Call, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    url = f"s3://{s3.BUCKET}/store"
    write(Store(url))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    run = ("run", "smoke", "--local", "--quiet")

    def ends(told: str, *words: str) -> None:
        s3.forget_clients()
        code, _, err = call(*words, "--store", url)
        lines = [line for line in err.splitlines() if "it is tried again" not in line]
        assert (code, len(lines)) == (2, 1), err
        assert told in lines[0]

    server.fault = lambda environ: "403 Forbidden" if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE") else None
    ends("must be writable, got one that is read-only", *run)
    server.fault = lambda environ: "403 Forbidden"
    ends("check the address and your access", "plan", *SUITE)
    server.fault = lambda environ: "503 Slow Down"
    ends("cannot be reached", "plan", *SUITE)
    server.fault = lambda environ: None
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    ends("cannot be reached: Could not connect to the endpoint URL", "plan", *SUITE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    ends("check the address and your access", "plan", *SUITE)
