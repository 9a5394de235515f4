"""The cluster files: valid for the pinned Ray, and alike in what they put on a node. Nothing is started."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[1]
HOME = "~/backstop"  # where the checkout lies on a node
COMMANDS = ("initialization_commands", "setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


def cloud() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def on_premises() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster-local.yaml").read_text())


CLUSTERS = pytest.mark.parametrize("cluster", [cloud(), on_premises()], ids=["cloud", "on premises"])


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Ray's own schema, read from the installed package without importing it."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    return json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())


def complaints(cluster: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(cluster)]


@CLUSTERS
def test_cluster_files_fit_rays_schema(cluster: dict[str, Any], schema: dict[str, Any]) -> None:
    assert complaints(cluster, schema) == []


def test_the_schema_refuses_slips(schema: dict[str, Any]) -> None:
    """So that the test above means something: Ray's schema is strict at the top and inside a node type."""
    assert "max_wokers" in complaints({**cloud(), "max_wokers": 3}, schema)[0]
    slipped = cloud()
    slipped["available_node_types"]["gpu"]["min_wokers"] = 1
    assert "min_wokers" in complaints(slipped, schema)[0]
    assert complaints({**cloud(), "setup_commands": "one text"}, schema)


def test_head_takes_no_work_and_gpus_are_rented_on_demand() -> None:
    cluster = cloud()
    types = cluster["available_node_types"]
    assert types.pop(cluster["head_node_type"])["resources"] == {"CPU": 0, "GPU": 0}
    assert types
    for node in types.values():
        assert node["min_workers"] == 0 < node["max_workers"] <= cluster["max_workers"]
        assert node["resources"] == {}  # read from the instance type: a number here would hide a GPU


def test_machines_of_your_own_are_all_started() -> None:
    cluster = on_premises()
    assert cluster["provider"]["type"] == "local"
    assert len(cluster["provider"]["worker_ips"]) == cluster["max_workers"]
    assert "min_workers" not in cluster  # Ray then takes the number of addresses, which is what it has to be
    assert "available_node_types" not in cluster  # Ray refuses them for this provider


def test_both_files_put_the_same_on_a_node() -> None:
    ours, theirs = on_premises(), cloud()
    for part in ("file_mounts", "rsync_filter", "rsync_exclude", "cluster_name"):
        assert ours[part] == theirs[part], part
    assert ours["setup_commands"] == [command.replace("'.[aws]'", ".") for command in theirs["setup_commands"]]


@CLUSTERS
def test_nodes_get_what_an_installation_needs_and_nothing_else(cluster: dict[str, Any]) -> None:
    mounts = {there: here for there, here in cluster["file_mounts"].items() if there.startswith(f"{HOME}/")}
    assert {there.removeprefix(HOME) for there in mounts} == {here.removeprefix(".") for here in mounts.values()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name for name in project["tool"]["setuptools"]["packages"] if "." not in name}
    files = {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    assert set(mounts.values()) == {f"./{name}" for name in packages | files}
    assert [here for here in mounts.values() if not (ROOT / here).exists()] == []


@CLUSTERS
def test_nodes_install_the_pins_and_no_extra_that_is_unknown(cluster: dict[str, Any]) -> None:
    (install,) = [command for command in cluster["setup_commands"] if "uv pip install" in command]
    found = re.search(r"cd (\S+) .*uv pip install -c constraints\.txt -e (?:\.|'\.\[(\w+)\]')$", install)
    assert found, install
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert found[1] == HOME
    assert found[2] is None or found[2] in extras


@CLUSTERS
def test_workers_join_the_head_that_was_started_with_a_token(cluster: dict[str, Any]) -> None:
    """One start on each side, after a stop, with the environment that setup made, on the same port."""
    starts = {}
    for role in ("head", "worker"):
        stop, start = cluster[f"{role}_start_ray_commands"]
        assert stop == f"{HOME}/.venv/bin/ray stop"
        assert re.search(rf"RAY_AUTH_MODE=token (setsid )?{re.escape(HOME)}/\.venv/bin/ray start ", start)
        starts[role] = start
    (port,) = re.findall(r"--head --port=(\d+)", starts["head"])
    assert f"--address=$RAY_HEAD_IP:{port}" in starts["worker"]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in starts["head"]
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@CLUSTERS
def test_every_command_is_a_line_that_bash_reads(cluster: dict[str, Any]) -> None:
    for command in (command for part in COMMANDS for command in cluster[part]):
        read = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, ""), command
        assert "\n" not in command, "a folded text keeps a line break where a line is indented deeper"
