"""One audit in this process, and the data, the weights and the detector that tests of audits share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmark.cli import app
from benchmark.models.clip import save_delta
from benchmark.testing import world
from tests.helpers.tiny import model, tensors

Audit = Callable[..., SimpleNamespace]


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Audit:
    """Exit code, stdout, stderr and its last line of one `backstop audit`."""

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["backstop", "audit", *words])
        try:
            app.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        last = (printed.err.strip().splitlines() or [""])[-1]
        return SimpleNamespace(code=code, out=printed.out, err=printed.err, last=last)

    return run


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file without a sidecar."""
    file = tmp_path_factory.mktemp("weights") / "bare.safetensors"
    save_file(tensors(model()), file)
    return file


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Some drawn shapes, read."""
    return world.source().read(np.arange(world.NUM_PAIRS, world.NUM_PAIRS + world.NUM_TEST))


@pytest.fixture(scope="module")
def folder(shapes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled images: one folder for each class."""
    root = tmp_path_factory.mktemp("images")
    for row, (image, label) in enumerate(zip(shapes.images, shapes.labels, strict=True)):
        place = root / world.source().class_names[label]
        place.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{row:04d}.png")
    return root


@pytest.fixture(scope="module")
def captioned(shapes: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as pairs without labels: a CSV with columns of other names."""
    root = tmp_path_factory.mktemp("pairs")
    files = {int(file.stem): file for file in folder.rglob("*.png")}
    lines = ["picture;words".replace(";", ",")]
    lines += [f'{files[row]},"{caption}"' for row, caption in enumerate(shapes.captions)]
    (root / "pairs.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit's backdoored model, with our sidecar."""
    root = tmp_path_factory.mktemp("planted")
    save_delta(world.backdoored().model, root, base={})
    return root / "model.safetensors"


# A detector that recovers exactly the trigger that was planted, so that what an audit makes of it can be judged.
SEER = """
from typing import ClassVar
from safetensors.torch import load_file
from benchmark.types import Card, Finding, ModelDetector

class Seer(ModelDetector):
    name: ClassVar[str] = "seer"
    card: ClassVar[Card] = Card(title="Seer", citation="none", access="weights", needs=frozenset({"class_names"}))

    def inspect(self, model, ctx):
        target = list(ctx.class_names).index("square")
        return Finding(1.0, True, target, load_file("%s"), "it was told")
"""


@pytest.fixture(scope="module")
def seer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin; mask and pattern are read off what the true trigger does to black and to white."""
    root, apply = tmp_path_factory.mktemp("seer"), world.backdoored().trigger.apply
    assert apply is not None
    black, white = (
        apply(torch.full((1, 3, 32, 32), value, dtype=torch.uint8), np.zeros(1, np.int64))[0] for value in (0, 255)
    )
    mask = ((white.int() - black.int()) < 255).any(0, keepdim=True).float()
    save_file({"mask": mask, "pattern": ((black / 255.0) * mask).contiguous()}, root / "true.safetensors")
    (root / "seer.py").write_text(SEER % (root / "true.safetensors"))
    return root / "seer.py"
