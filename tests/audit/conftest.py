"""A checkpoint that tests of audits share."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.helpers.tiny import model, tensors


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file without a sidecar."""
    file = tmp_path_factory.mktemp("weights") / "bare.safetensors"
    save_file(tensors(model()), file)
    return file
