"""A real `ray up` of the shipped file for machines of one's own, on hosts made of namespaces: `make test-cluster`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from benchmark.store.artifacts import Store
from tests.cluster.hosts import CHECKOUT, SHARED, STORE, Hosts, what_is_missing
from tests.helpers.miniature import SETTINGS, records

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
COMPUTING = ("host1", "host2")
CLUSTER = str(SHARED / "cluster.yaml")
DASHBOARD = "http://127.0.0.1:8265"
# the environment is there already, and there is no way to an index
INSTALL = "cd ~/backstop && .venv/bin/python -m pip install -q --no-index --no-deps --no-build-isolation -e ."
THREADS = os.cpu_count() or 1
CELLS = "objective=mmcl,attack=badnet,repair=none,repair=cleanclip"
RUN = ("backstop", "run", "smoke", "--workers", "2", "--cpus", str(THREADS), "--only", CELLS)  # a worker fills a host


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    folder = tmp_path / "shared"
    with Hosts(folder, len(COMPUTING)) as made:
        (folder / "cluster.yaml").write_text(yaml.safe_dump(cluster(), sort_keys=False))
        yield made


def cluster() -> dict[str, object]:
    """The shipped file, with as many workers as there are hosts, and nothing fetched."""
    shipped = yaml.safe_load((CHECKOUT / "cluster-local.yaml").read_text())
    workers = shipped["provider"]["worker_ips"][: len(COMPUTING) - 1]
    shipped |= {"max_workers": len(workers), "provider": shipped["provider"] | {"worker_ips": workers}}
    shipped["setup_commands"] = [INSTALL if "uv pip" in line else line for line in shipped["setup_commands"]]
    return shipped


def wait_until(true: Callable[[], object], limit_s: float, what: str) -> float:
    """How many seconds it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() < start + limit_s, f"after {limit_s} s still not: {what}"
        time.sleep(0.5)
    return time.monotonic() - start


@contextmanager
def dashboard(hosts: Hosts) -> Iterator[None]:
    """`ray dashboard`, which forwards the head's to the desk."""
    words = hosts.command("desk", "ray", "dashboard", CLUSTER)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as open_:
        try:
            fetch = ("python", "-c", f"import urllib.request as r; r.urlopen('{DASHBOARD}')")
            wait_until(lambda: hosts.run("desk", *fetch, check=False).returncode == 0, 30, "a forwarded dashboard")
            yield
        finally:
            os.killpg(open_.pid, signal.SIGTERM)


def submit(hosts: Hosts, name: str, *words: str, well: bool = True) -> tuple[str, dict[str, set[str]]]:
    """What a job printed, and every command line that was seen on each host while it ran; it has to end so."""
    where = ("--address", DASHBOARD, "--submission-id", name)
    environment = json.dumps({"env_vars": {"BACKSTOP_STORE": str(STORE)}})
    settings = [word for text in (*SETTINGS, "pretrain.norm_group=64") for word in ("--set", text)]
    command = ("ray", "job", "submit", *where, "--runtime-env-json", environment, "--", *words, *settings)
    log, seen = hosts.folder / f"{name}.log", {host: set[str]() for host in COMPUTING}
    with log.open("wb") as out:
        job = subprocess.Popen(hosts.command("desk", *command), stdout=out, stderr=subprocess.STDOUT)
        while job.poll() is None:
            for host in COMPUTING:
                seen[host] |= set(hosts.processes(host))
            time.sleep(0.2)
    assert (job.returncode == 0) is well, log.read_text()
    return log.read_text(), seen


def listeners(hosts: Hosts, name: str) -> dict[str, set[str]]:
    """Port -> the addresses on which a host listens at it."""
    lines = hosts.run(name, "ss", "-Hltn").stdout.splitlines()
    found: dict[str, set[str]] = {}
    for address, _, port in (line.split()[3].rpartition(":") for line in lines):
        found.setdefault(port, set()).add(address)
    return found


def files_with(secret: str, *roots: Path) -> list[Path]:
    """The files under some folders that hold a text."""
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_a_suite_runs_on_two_hosts_from_ray_up_to_ray_down(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    told, start = [], time.monotonic()

    def tell(what: str) -> None:
        told.append(f"{time.monotonic() - start:5.0f} s  {what}")

    token = hosts.run("desk", "ray", "get-auth-token", "--generate").stdout.split()[-1]
    hosts.run("desk", "ray", "up", "-y", "--no-config-cache", CLUSTER)
    tell("ray up")
    wait_until(lambda: any("/raylet " in line for line in hosts.processes("host2")), 90, "a raylet on the worker")
    tell("the worker has joined")
    open_ports = listeners(hosts, "host1")
    assert open_ports["8265"] == {"127.0.0.1"}
    assert open_ports["6379"] == {"*"}  # every interface: what the token is for

    with dashboard(hosts):
        printed, seen = submit(hosts, "mini-1", *RUN)
    tell("the job has ended")
    for host in COMPUTING:
        assert any(line.startswith("ray::RayTrainWorker") for line in seen[host]), f"no pre-training on {host}"
        assert any(line.startswith("ray::Worker.run_trial") for line in seen[host]), f"no search on {host}"
    assert "4 records (4 ok)" in printed
    rows = records(hosts.folder / "store", part=True)
    assert {row["status"] for row in rows} == {"ok"}
    made = Store(hosts.folder / "store")
    assert len(made.keys("pretrain")) == 2  # of the attack, and the clean model beside it

    sessions = hosts.run("host1", "grep", "-rlF", token, "/tmp/ray", check=False)
    assert (sessions.returncode, sessions.stdout) == (1, "")  # none of Ray's logs
    assert files_with(token, hosts.folder / "store") == []
    assert token not in printed
    assert not [line for lines in seen.values() for line in lines if token in line]

    hosts.run("desk", "ray", "down", "-y", CLUSTER)
    tell("ray down")
    wait_until(lambda: not any(hosts.processes(host) for host in COMPUTING), 300, "an end of every process")
    tell("no process is left on any host")
    with capsys.disabled():
        print("", *told, sep="\n  ")


def test_a_host_that_does_not_see_the_store_ends_a_run_before_anything_is_computed(hosts: Hosts) -> None:
    hosts.run("desk", "ray", "get-auth-token", "--generate")
    hosts.run("desk", "ray", "up", "-y", "--no-config-cache", CLUSTER)
    wait_until(lambda: any("/raylet " in line for line in hosts.processes("host2")), 90, "a raylet on the worker")
    hosts.run("host2", "mount", "-t", "tmpfs", "none", str(STORE))
    with dashboard(hosts):
        printed, seen = submit(hosts, "mini-1", *RUN, well=False)
    assert "exit code 2" in printed
    assert "Traceback" not in printed
    told = {line.strip() for line in printed.splitlines() if "--store" in line}
    mistake = f"must be a folder that every node of the cluster shares, got '{STORE}'"
    remedy = "host2 does not see it: mount it there at the same path, or give a URL as s3://…"
    assert told == {f"backstop: --store {mistake}; {remedy}"}
    assert not [line for lines in seen.values() for line in lines if line.startswith("ray::Worker")]
    assert list((hosts.folder / "store").glob("*/*/manifest.json")) == []
    assert hosts.run("host2", "find", str(STORE), "-type", "f").stdout == ""


def test_who_has_no_token_is_let_in_nowhere_but_to_counters(hosts: Hosts) -> None:
    hosts.run("desk", "ray", "get-auth-token", "--generate")
    hosts.run("desk", "ray", "up", "-y", "--no-config-cache", CLUSTER)
    join = "import ray; ray.init('10.0.0.1:6379', logging_level='ERROR'); print('joined')"
    stranger = ("env", "HOME=/mnt", f"RAY_AUTH_TOKEN={'0' * 64}")
    for words in (("ray", "job", "list", "--address", DASHBOARD), ("timeout", "60", "python", "-c", join)):
        refused = hosts.run("host1", *stranger, *words, check=False)
        assert refused.returncode != 0, words
        assert "token" in (refused.stdout + refused.stderr).lower(), words
        assert hosts.run("host1", *words).returncode == 0, "with the token it is let in"
    ask = "import urllib.request as r; print(r.urlopen('http://10.0.0.1:{}/metrics', timeout=5).status)"
    counters = [hosts.run("desk", "python", "-c", ask.format(port)).stdout.strip() for port in (44217, 44227)]
    assert counters == ["200", "200"]
