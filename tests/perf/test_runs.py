"""What a store tells of when a run computed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmark.perf.runs import span

pytestmark = pytest.mark.unit


def test_a_run_computes_from_the_start_of_its_first_artifact_to_the_end_of_its_last(tmp_path: Path) -> None:
    ends = {"data/k1": (1010.0, {"wall_s": 4.0}), "pretrain/k2": (1030.0, {"wall_s": 15.0}), "record/k3": (1031.5, {})}
    for name, (end, facts) in ends.items():
        manifest = tmp_path / name / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text(json.dumps({"facts": facts}))
        os.utime(manifest, (end, end))
    assert span(tmp_path) == (1006.0, 1031.5)
