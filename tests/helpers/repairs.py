"""What tests of repairs share: the effect of the kit's backdoor before and after one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.contexts.repair import GatedRepairContext
from benchmark.models.clip import ClipModel
from benchmark.rng import generator
from benchmark.testing import world
from benchmark.testing.repair import Repaired, run_repair
from benchmark.types import Repair

SCALE = torch.tensor(7.0)
CLEANING: dict[str, Any] = {"batch_size": 64, "warmup_steps": 4, "learning_rate": 1e-3}


def before() -> world.Effect:
    """Accuracy and success rate of the kit's backdoored model."""
    return world.effect(world.backdoored().model.clone(), world.backdoored().trigger)


def after(repair: Repair) -> tuple[ClipModel, world.Effect]:
    """The repaired model, with its accuracy and success rate."""
    found = run_repair(repair).model
    return found, world.effect(found, world.backdoored().trigger)


def unit(rows: int, seed: int) -> torch.Tensor:
    """Random unit rows: (rows, 6)."""
    return functional.normalize(torch.randn(rows, 6, generator=generator(seed)), dim=1)


def noted(repair: Repair, planted: world.Planted, monkeypatch: pytest.MonkeyPatch) -> tuple[Repaired, dict[str, Any]]:
    """Runs a repair and returns what it noted besides."""
    notes: dict[str, Any] = {}
    monkeypatch.setattr(GatedRepairContext, "note", lambda self, **findings: notes.update(findings))
    return run_repair(repair, planted=planted), notes


def poisoned_rows(planted: world.Planted) -> np.ndarray:
    """Rows whose caption the poison changed."""
    rows = np.arange(planted.pairs.num_rows)
    return rows[np.array(planted.pairs.captions(rows)) != np.array(world.pairs().captions(rows))]
