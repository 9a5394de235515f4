"""Every stage of a run on a pretended GPU: what the engine does around methods keeps to one device too."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch

from benchmark.config.spec import Suite
from benchmark.engine.driver import SuiteRun
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.engine.suites import resolve
from benchmark.stages.common import Compute
from benchmark.stages.keys import cells_of
from benchmark.stages.record import FINAL
from benchmark.store.artifacts import Store
from benchmark.testing.devices import PretendedGPU
from tests.helpers.miniature import SMALLEST

GRID = (
    *SMALLEST,
    'attacks=["badnet:target=ring","quantisation:target=ring,epochs=1"]',
    'detectors=["clipscore","strip","decree:epochs=1,num_images=32"]',
)


def suite() -> Suite:
    return resolve("smoke", GRID).suite


def failures(root: Path) -> dict[str, str]:
    """Stage -> the reason of a failure, of a run on the pretended GPU."""
    store, wanted = Store(root), suite()
    cells, monitor = cells_of(wanted), Monitor(quiet=True)
    executor = LocalExecutor(store, monitor, Compute("cuda"))
    driver = SuiteRun(store, wanted, cells, cells, executor, monitor)
    with mock.patch.object(torch.cuda, "get_device_name", return_value="pretended"), PretendedGPU() as gpu:
        driver.run()
    assert gpu.operations > 1000
    return {ref.stage: ended.reason for ref, ended in driver.graph.ended.items() if ended.status not in FINAL}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_stage_keeps_to_one_device(tmp_path: Path) -> None:
    assert failures(tmp_path) == {}
    made = {file.parts[-3] for file in tmp_path.glob("*/*/manifest.json")}
    assert made >= {"data", "poison", "pretrain", "embed", "evaluate", "detect", "defend", "record"}
