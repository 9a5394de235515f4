"""What WEIGHTS may be: a file, a folder in either layout, an artifact, a published name; each opens as its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmark.audit import layouts, report
from benchmark.audit.weights import open_weights
from benchmark.config.spec import ModelSpec
from benchmark.models.clip import save_delta
from benchmark.store.artifacts import Store
from tests.helpers.checkpoints import open_clip_folder, transformers_folder
from tests.helpers.tiny import differing, model, tensors


def _opened(place: Path | str, tmp_path: Path, architecture: str | None = None) -> Any:
    return open_weights(str(place), architecture=architecture, store=Store(tmp_path / "store"))


def test_a_bare_file_and_one_with_a_sidecar_open_alike(bare: Path, tmp_path: Path) -> None:
    save_delta(model(), tmp_path, base={})
    first, second = _opened(bare, tmp_path, "tiny-resnet"), _opened(tmp_path / "model.safetensors", tmp_path)
    assert differing(tensors(first.model), tensors(model())) == []
    assert differing(tensors(second.model), tensors(model())) == []
    assert first.sha256 is not None
    assert not first.model.training


def test_a_shared_prefix_is_dropped(tmp_path: Path) -> None:
    save_file({f"module.{name}": value for name, value in tensors(model()).items()}, tmp_path / "m.safetensors")
    assert (
        differing(tensors(_opened(tmp_path / "m.safetensors", tmp_path, "tiny-resnet").model), tensors(model())) == []
    )


def test_an_artifact_opens_by_key_folder_attempt_and_file(tmp_path: Path) -> None:
    store, key, later = Store(tmp_path / "store"), "a" * 32, "b" * 32
    base = store.draft("pretrain", key)
    save_delta(model(), base.folder, base={})
    facts = {"class_names": ["x", "y"], "evaluation_templates": ["one {}"], "training": {"epochs": 3}}
    save_file({"step": torch.zeros(1)}, base.path("optimizer.safetensors"))
    base.commit(facts)
    repaired = store.draft("defend", later)
    changed = model()
    scale: Any = changed.network.logit_scale
    with torch.no_grad():
        scale.add_(1)
    save_delta(changed, repaired.folder, name="epoch-0001", base={"artifact": key}, of=model())
    save_delta(changed, repaired.folder, name="epoch-0002", base={"artifact": key}, of=model())
    repaired.commit({})
    for place in (key, base.folder, base.folder.parent, base.path("model.safetensors")):
        found = _opened(place, tmp_path)
        assert differing(tensors(found.model), tensors(model())) == []
        assert found.class_names == ("x", "y")
        assert found.optimizer_state()[1].epochs == 3
    for place in (later, repaired.folder, repaired.path("epoch-0001.safetensors")):
        assert differing(tensors(_opened(place, tmp_path).model), tensors(model())) == ["logit_scale"]


def test_a_folder_of_open_clip_with_its_pixels(tmp_path: Path) -> None:
    found = _opened(open_clip_folder(tmp_path, "tiny-vit"), tmp_path)
    assert found.model.spec.name == "tiny-vit"
    assert differing(tensors(found.model), tensors(model("tiny-vit"))) == []
    assert found.model.mean.tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert found.model.clone().std.tolist() == pytest.approx([0.2, 0.2, 0.1])
    # and they survive being repaired and opened again
    (tmp_path / "new").mkdir()
    report.save_checkpoint(found.model, tmp_path / "new")
    assert _opened(tmp_path / "new", tmp_path).model.mean.tolist() == pytest.approx([0.5, 0.4, 0.3])


def test_a_folder_of_transformers_is_renamed(tmp_path: Path) -> None:
    found = _opened(transformers_folder(tmp_path), tmp_path)
    assert found.model.spec.name == "tiny-vit"
    assert differing(tensors(found.model), tensors(model("tiny-vit"))) == []
    assert found.model.mean.tolist() == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("name", ["RN50", "ViT-B-32", "ViT-B-32-quickgelu", "ViT-L-14", "tiny-resnet"])
def test_an_architecture_is_known_by_its_configuration(name: str) -> None:
    from benchmark.models.architectures import TINY, configurations

    config = TINY[name] if name in TINY else json.loads(configurations()[name].read_text())
    assert layouts.architecture_of(config, place="here") == name


def test_the_published_models_of_transformers_have_names() -> None:
    config = {"model_type": "clip", "projection_dim": 512, "vision_config": {}, "text_config": {}}
    assert layouts.architecture_of(layouts.translated(config, place="here"), place="here") == "ViT-B-32-quickgelu"


@pytest.mark.parametrize("tag", ["openai"])
def test_weights_that_cannot_be_fetched_are_one_line(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.audit import weights
    from benchmark.errors import UserError

    def offline(spec: ModelSpec, *, seed: int) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(weights, "build", offline)
    with pytest.raises(UserError, match=r"cannot be fetched .no route to host.; connect to the network"):
        _opened(f"RN50:{tag}", tmp_path)
