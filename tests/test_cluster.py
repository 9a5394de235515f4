"""The cluster files: valid for the pinned Ray, and true to what docs/cluster.md promises. Nothing is started."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[1]
CLUSTER = (ROOT / "cluster.yaml").read_text()
ON_PREMISES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Ray's own schema, read from the installed package without importing it."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    return json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER)


@pytest.mark.parametrize("text", [CLUSTER, *ON_PREMISES])
def test_cluster_files_fit_rays_schema(text: str, schema: dict[str, Any]) -> None:
    jsonschema.validate(yaml.safe_load(text), schema)


def test_the_docs_show_one_on_premises_file() -> None:
    assert len(ON_PREMISES) == 1
    assert yaml.safe_load(ON_PREMISES[0])["provider"]["type"] == "local"


def test_an_unknown_key_is_refused(cluster: dict[str, Any], schema: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="max_wokers"):
        jsonschema.validate({**cluster, "max_wokers": 3}, schema)


def test_head_takes_no_work_and_gpus_are_rented_on_demand(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    head = types.pop(cluster["head_node_type"])
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert types
    assert all(node["min_workers"] == 0 < node["max_workers"] <= cluster["max_workers"] for node in types.values())


def test_every_package_is_mounted_and_each_mount_exists(cluster: dict[str, Any]) -> None:
    local = {source for source in cluster["file_mounts"].values() if not source.startswith("~")}
    assert {"./benchmark", "./reports", "./suites", "./tuners", "./constraints.txt", "./pyproject.toml"} <= local
    assert [source for source in local if not (ROOT / source).exists()] == []


def test_nodes_install_the_pins_and_say_the_authentication_mode(cluster: dict[str, Any]) -> None:
    assert any("uv pip install -c constraints.txt" in command for command in cluster["setup_commands"])
    for role in ("head", "worker"):
        starts = [command for command in cluster[f"{role}_start_ray_commands"] if "ray start" in command]
        assert len(starts) == 1
        assert "RAY_AUTH_MODE=token " in starts[0]
