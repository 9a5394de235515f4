"""Every Ray that is started here asks for a token and listens on loopback; Ctrl-C ends a run on it with one line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from benchmark.config.compute_options import ComputeOptions
from benchmark.engine.ray_token import ALONE, set_token
from benchmark.errors import UserError
from tests.helpers.miniature import start

NAMES = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
LISTENS = "0A"  # the state of a socket in /proc/net/tcp
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process in which nobody has said anything about Ray."""
    for name in (*NAMES, ALONE):
        monkeypatch.setenv(name, "")  # so that what the test sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    return monkeypatch


def said() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_a_ray_of_ones_own_gets_a_random_token_once(bare: pytest.MonkeyPatch) -> None:
    set_token()
    first = said()
    assert first["RAY_AUTH_MODE"] == "token"
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    set_token()
    assert said() == first
    for name in NAMES:
        bare.delenv(name, raising=False)
    set_token()
    assert said()["RAY_AUTH_TOKEN"] != first["RAY_AUTH_TOKEN"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "disabled"}),
        ({"RAY_AUTH_TOKEN": "mine"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "mine"}),
        ({"RAY_AUTH_TOKEN_PATH": "/f"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/f"}),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, {"RAY_ADDRESS": "10.0.0.1:6379"}),
    ],
)
def test_what_the_user_said_stands(given: dict[str, str], expected: dict[str, str], bare: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        bare.setenv(name, value)
    set_token()
    assert said() == expected


def test_a_cluster_that_is_there_has_its_own_rule(bare: pytest.MonkeyPatch) -> None:
    set_token("10.0.0.1:6379")
    assert said() == {}
    assert ALONE not in os.environ


@pytest.mark.parametrize(("given", "expected"), [({}, "0"), ({"RAY_AUTH_MODE": "disabled"}, "0"), ({ALONE: "1"}, "1")])
def test_a_ray_of_ones_own_is_alone(given: dict[str, str], expected: str, bare: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        bare.setenv(name, value)
    set_token()
    assert os.environ[ALONE] == expected


def test_the_command_sets_it_before_ray_is_imported() -> None:
    """Ray reads the variables when it is imported; later ones are not sent by its own client."""
    code = (
        "import os, sys; from benchmark.engine import running; assert 'ray' not in sys.modules\n"
        "from benchmark.engine import ray_token\n"
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_ray_whose_start_times_out_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.engine import ray_cluster

    tries = []

    def times_out(*_: object, **__: object) -> None:
        tries.append(1)
        raise Exception("The current node timed out during startup. This could\nhappen")  # as Ray does, at a load of 25

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster.ray, "init", times_out)
    monkeypatch.setattr(ray_cluster.ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match="Ray must start on this machine, got 'Exception: The current node") as caught:
        ray_cluster.connect(ComputeOptions())
    assert "\n" not in str(caught.value)
    assert len(tries) == 2


@pytest.mark.parametrize(("told", "tries"), [("The current node timed out during startup.", 2), ("no such option", 1)])
def test_a_start_that_times_out_is_tried_once_more(told: str, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.engine import ray_cluster

    asked: list[object] = []

    def slow(**options: object) -> None:
        asked.append(options)
        if len(asked) == 1:
            raise Exception(told)

    monkeypatch.setattr(ray_cluster.ray, "init", slow)
    with contextlib.nullcontext() if tries == 2 else pytest.raises(Exception, match=told):
        ray_cluster.start(num_cpus=2)
    assert asked == [{"num_cpus": 2}] * tries


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray writes its logs; short, since its sockets' paths may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="bs-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def processes(mark: str) -> dict[str, tuple[bytes, bytes]]:
    """Process id -> (command line, environment) of those that have the mark in their environment."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            if mark.encode() in environment:
                found[folder.name] = (folder / "cmdline").read_bytes(), environment
        except OSError:  # it has ended
            continue
    return found


def listeners(numbers: Iterable[str]) -> dict[str, str]:
    """`address:port`, in hexadecimal, at which processes listen -> which of them."""
    sockets: dict[str, str] = {}
    for number in numbers:
        with contextlib.suppress(OSError):  # it has ended
            sockets |= {os.readlink(file): number for file in Path(f"/proc/{number}/fd").iterdir()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {
        row[1]: sockets[f"socket:[{row[9]}]"] for row in rows if row[3] == LISTENS and f"socket:[{row[9]}]" in sockets
    }


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_on_ray_has_a_token_and_ends_at_an_interrupt_with_one_line(
    bare: pytest.MonkeyPatch, tmp_path: Path, ray_folder: Path
) -> None:
    token = "0123456789abcdef" * 4
    bare.setenv("RAY_AUTH_TOKEN", token)
    store = tmp_path / "store"
    process = start(store)
    while process.poll() is None and not list(store.glob("poison/*/manifest.json")):
        time.sleep(0.1)
    running = processes(str(ray_folder))
    ports = listeners(running)
    servers = [environment for line, environment in running.values() if b"gcs_server" in line]
    worker = next(number for number, (line, _) in running.items() if line.startswith(b"ray::Worker"))
    os.kill(int(worker), signal.SIGKILL)
    time.sleep(3)  # Ray says so within a second or two
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all of them
    printed, complaints = process.communicate()

    assert len(servers) == 1
    assert len(ports) > 5
    assert {address.split(":")[0] for address in ports} <= LOOPBACK
    assert b"RAY_AUTH_MODE=token" in servers[0].split(b"\0")
    assert not [line for line, _ in running.values() if token.encode() in line]
    files = [path for root in (store, ray_folder) for path in root.rglob("*") if path.is_file()]
    assert any(path.name.startswith("gcs_server") for path in files)
    assert not [path for path in files if token.encode() in path.read_bytes()]

    assert process.returncode == 130
    assert printed == ""
    assert complaints.strip() == "backstop: interrupted; run the same command again to go on"
