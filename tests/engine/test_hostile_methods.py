"""Methods that break their contract in the middle of a run: each is a status with its reason, and harms no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmark.engine.suites import resolve
from benchmark.store.artifacts import Store
from tests.helpers.miniature import SMALLEST

HEAD = """
import os
import torch
from benchmark.types import Card, Repair

CARD = Card(title="Hostile", citation="none", access="weights", needs=frozenset({"clean_pairs"}), summary="Is.")


def spoilt(model, value, buffers=False):
    copy = model.clone()
    with torch.no_grad():
        for tensor in copy.network.buffers() if buffers else copy.network.parameters():
            if tensor.is_floating_point():
                tensor.fill_(value)
    return copy
"""
# name -> what it does, its status, and how its reason begins
HOSTILE = {
    "leaves": (
        "torch.set_grad_enabled(False); torch.set_num_threads(2); os.chdir('/'); return model.clone()",
        "ok",
        "",
    ),
    "in-place": (
        "model.network.logit_scale.data.mul_(0.5); return model",
        "failed",
        "ValueError: a method must leave the model that it is given, got another logit_scale",
    ),
    "statistics": (
        "return spoilt(model, float('nan'), buffers=True)",
        "failed",
        "the method must give back finite weights, got others in visual.bn1.running_mean",
    ),
    "reports": (
        "ctx.report(1, spoilt(model, float('nan'))); return model.clone()",
        "failed",
        "a model must give finite scores, got others for 150 of 150 images",
    ),
    "exits": (
        "torch.set_default_dtype(torch.float64); raise SystemExit(0)",
        "failed",
        "SystemExit: the code called sys.exit(0)",
    ),
    "memory": ("raise torch.OutOfMemoryError('2 GiB')", "out_of_memory", "OutOfMemoryError: 2 GiB"),
    "nothing": ("return None", "failed", "TypeError: a method must give a model of its context, got NoneType"),
}


REPAIR = """
class R{number}(Repair):
    name, card = "{name}", CARD

    def repair(self, model, ctx):
        {body}
"""


def source() -> str:
    bodies = {name: body for name, (body, _, _) in HOSTILE.items()}
    return HEAD + "\n".join(
        REPAIR.format(number=number, name=name, body=body) for number, (name, body) in enumerate(bodies.items())
    )


def run(suite: Path, root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "benchmark.cli", "run", str(suite), "--local", "--quiet", "--store", str(root)]
    return subprocess.run([*words, *more], cwd=root.parent, capture_output=True, text=True, check=False)


def rows(root: Path) -> dict[str, dict[str, Any]]:
    """Repair -> the record's row of the attacked cell."""
    found = [
        row
        for file in root.glob("record/*/*/records.parquet")
        for row in pq.read_table(file, columns=["repair", "attack", "status", "reason", "measures"]).to_pylist()
    ]
    return {row["repair"].partition("(")[0]: row for row in found if row["attack"] != "none"}


def weights_of(root: Path) -> dict[str, str]:
    """Key -> hash of the weights after the first epoch of every repair that ended."""
    manifests = {file.parent.name: json.loads(file.read_text()) for file in root.glob("defend/*/manifest.json")}
    files = {key: manifest["files"].get("epoch-0001.safetensors") for key, manifest in manifests.items()}
    return {key: found for key, found in files.items() if found}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_broken_contract_is_a_status_and_changes_no_other_cell(tmp_path: Path) -> None:
    suite, plugin, root = tmp_path / "smoke.json", tmp_path / "hostile.py", tmp_path / "store"
    suite.write_text(json.dumps(resolve("smoke", [*SMALLEST, "readouts.probe=false"]).suite.to_dict()))
    plugin.write_text(source())
    alone = run(suite, root)
    assert alone.returncode == 0, alone.stderr
    calm, weights = rows(root)["fine-tuning"], weights_of(root)
    assert len(weights) == 2  # of the attacked model and of its twin
    for stage in ("defend", "evaluate", "record"):  # made again, among all that is hostile
        for manifest in root.glob(f"{stage}/*/manifest.json"):
            manifest.unlink()
    added = [word for name in HOSTILE for word in ("--add", f"repair={name}")]
    done = run(suite, root, "--plugin", str(plugin), *added)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = rows(root)
    told = {name: (found[name]["status"], found[name]["reason"]) for name in HOSTILE}
    wrong = {
        name: told[name]
        for name, (_, status, reason) in HOSTILE.items()
        if told[name][0] != status or not told[name][1].startswith(reason)
    }
    assert wrong == {}
    assert found["fine-tuning"] == calm
    assert weights.items() <= weights_of(root).items()
    assert Store(root).read_json("suites/smoke.json") is not None
