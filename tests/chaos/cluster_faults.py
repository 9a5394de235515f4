"""What may befall a cluster of several nodes, and a job on it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos.attempt import GCS_PATIENCE, Attempt, send
from tests.chaos.cluster import Nodes, restarted
from tests.chaos.fault import Missed, hit, lines

RAY_COMMAND = str(Path(sys.executable).parent / "ray")


def node(run: Attempt, again: int) -> str:
    """The second of two nodes, with what runs there."""
    nodes = Nodes(run, 1, 1)
    process = run.start()
    if not run.grown(process, (3, 14)[again]):
        raise Missed(run.end(process))
    send(nodes.raylets[1], signal.SIGKILL)
    at, said = run.made(), run.end(process)
    return f"raylet of the second node at {at} artifacts; the run: rc {process.returncode}, {lines(said)}"


def node_search(run: Attempt, again: int) -> str:
    """The worker of the second node, while it runs a trial."""
    nodes = Nodes(run, 1, 1)
    process = run.start()
    if again and not run.until(process, lambda: list(run.root.glob("defend/*/manifest.json"))):
        raise Missed(run.end(process))
    return hit(run, process, "ray::Worker.run_trial", child_of=nodes.raylets[1])


def node_group(run: Attempt, again: int) -> str:
    """The process of a worker group that trains on the second node, before and after the first checkpoint."""
    nodes = Nodes(run, 1, 1, how=("--workers", "2"), dashboard=True)
    process = run.start()
    if again and not run.until(process, lambda: list(run.root.glob("scratch/pretrain/*/*"))):
        raise Missed(run.end(process))
    return hit(run, process, "ray::RayTrainWorker", child_of=nodes.raylets[1])


def head_restarted(run: Attempt, again: int) -> str:
    """The head; then another cluster, as after the machines were started again."""
    run.environment[GCS_PATIENCE] = "15"
    nodes = Nodes(run, 1, 1)
    process = run.start()
    if not run.grown(process, (3, 14)[again]):
        raise Missed(run.end(process))
    send(run.running("gcs/gcs_server")[0], signal.SIGKILL)
    at, said = run.made(), run.end(process)
    restarted(run, nodes)
    return f"gcs_server at {at} artifacts; the run: rc {process.returncode}, {lines(said)}; another cluster"


def job(run: Attempt, again: int) -> str:
    """A job that is stopped by its user, and one whose driver is killed; then the same job."""
    nodes = Nodes(run, 1, 1, dashboard=True)
    submit = (RAY_COMMAND, "job", "submit", "--address", nodes.dashboard)
    run.how, run.before = (), (*submit, "--submission-id", "first", "--")
    process = run.start()
    if not run.grown(process, (3, 14)[again]):
        raise Missed(run.end(process))
    if again:
        (driver,) = run.running(f"{sys.executable} -m benchmark.cli run", first=True)
        send(driver, signal.SIGKILL)
    else:
        words = (RAY_COMMAND, "job", "stop", "--address", nodes.dashboard, "first")
        with run.marked():
            subprocess.run(words, check=True, capture_output=True, timeout=120)
    at, said = run.made(), run.end(process)
    run.before = (*submit, "--")
    what = "driver of a job killed" if again else "ray job stop"
    return f"{what} at {at} artifacts; the job: rc {process.returncode}, {lines(said)}"
