"""What `backstop audit` refuses in one line, and what it leaves in its folder."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
import torch

from tests.audit.conftest import Audit
from tests.helpers.checkpoints import open_clip_folder, transformers_folder

QUICK = ("--detector", "decree:epochs=1,num_images=32")


@pytest.fixture(scope="module")
def bad(bare: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Places of things that are not what they should be."""
    root = tmp_path_factory.mktemp("bad")
    places = {name: root / name for name in ("empty", "few", "other", "pickles", "open", "custom", "vit", "used")}
    for place in places.values():
        place.mkdir()
    torch.save({"a": torch.zeros(1)}, root / "torch.pt")
    torch.save({"a": torch.zeros(1)}, root / "old.safetensors", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.zeros(1)}, places["pickles"] / "pytorch_model.bin")
    with zipfile.ZipFile(root / "zip.safetensors", "w") as archive:
        archive.writestr("readme.txt", "no weights")
    (root / "text.safetensors").write_text("this is a letter")
    (root / "lfs.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (root / "none.safetensors").write_bytes(b"")
    (root / "cut.safetensors").write_bytes(bare.read_bytes()[:10_000])
    for row, file in enumerate(sorted(folder.rglob("*.png"))[::10]):
        (places["few"] / str(row % 2)).mkdir(exist_ok=True)
        (places["few"] / str(row % 2) / file.name).write_bytes(file.read_bytes())
    (places["other"] / "config.json").write_text(json.dumps({"model_type": "bert"}))
    open_clip_folder(places["open"], "tiny-vit", embed_dim=65)
    open_clip_folder(places["custom"], "tiny-vit", custom_text=True)
    transformers_folder(places["vit"])
    config = json.loads((places["vit"] / "config.json").read_text())
    config["text_config"]["hidden_act"] = "relu"
    (places["vit"] / "config.json").write_text(json.dumps(config))
    (places["used"] / "thesis.tex").write_text("")
    return {path.name: str(path) for path in root.iterdir()} | {
        "bare": str(bare),
        "data": str(folder),
        "root": str(root),
    }


TINY_MODEL = ("--model", "tiny-resnet")
REFUSED = {
    "no such path": (["{root}/absent.safetensors"], "no such path"),
    "a name without a tag": (["RN50"], "for published weights give their tag too, e.g. RN50:openai"),
    "an unknown name": (["RN5:openai"], "unknown model 'RN5'; did you mean RN50"),
    "an unknown tag": (["RN50:openia"], "unknown pretrained tag of RN50 'openia'; did you mean openai"),
    "a key of no model": (["f" * 32], "no model of that key in store"),
    "a pickle": (["{torch.pt}"], "got pickled content; pickles can run code"),
    "a pickle of old, in disguise": (["{old.safetensors}"], "got pickled content"),
    "a folder of pickles": (["{pickles}"], "got 'pytorch_model.bin', which is pickled"),
    "an archive": (["{zip.safetensors}"], "not a checkpoint"),
    "a text": (["{text.safetensors}"], "not a checkpoint"),
    "nothing": (["{none.safetensors}"], "not a checkpoint"),
    "a pointer": (["{lfs.safetensors}"], "got a Git LFS pointer; fetch the file with `git lfs pull`"),
    "a damaged file": (["{cut.safetensors}", *TINY_MODEL], "is damaged or cut short"),
    "no architecture": (["{bare}"], "has no sidecar bare.json; name its architecture with --model"),
    "an unknown architecture": (
        ["{bare}", "--model", "tiny-resnt"],
        "unknown model 'tiny-resnt'; did you mean tiny-resnet",
    ),
    "another architecture": (["{bare}", "--model", "tiny-vit"], "as tiny-vit: unknown tensor 'visual.bn1"),
    "an empty folder": (["{empty}"], "must hold open_clip_config.json or config.json"),
    "another kind of model": (["{other}"], "must hold a CLIP model (model_type 'clip'), got 'bert'"),
    "sizes without a name": (["{open}"], "closest: tiny-vit, which differs in embed_dim"),
    "another text tower": (["{custom}"], "its text tower must be CLIP's own, got another"),
    "another activation": (["{vit}"], "hidden_act must be quick_gelu or gelu, got 'relu'"),
    "no data": (["{bare}", *TINY_MODEL, "--data", "/none/such"], "--data must be a folder or a file, got '/none/such'"),
    "too few images": (["{bare}", *TINY_MODEL, "--data", "{few}"], "--data must be at least 100 clean images, got 30"),
    "an unknown column": (["{bare}", *TINY_MODEL, "--set", "image=picture"], "unknown column 'picture'"),
    "an unknown field": (["{bare}", *TINY_MODEL, "--set", "imag=x"], "unknown field 'imag'; did you mean image"),
    "too many wanted": (["{bare}", *TINY_MODEL, "--set", "clean=5000"], "rows to draw splits from must be at least"),
    "too few classes": (["{bare}", *TINY_MODEL, "--classes", "a,b"], "data.class_names must be 4 names"),
    "one class": (["{bare}", *TINY_MODEL, "--classes", "a"], "--classes must be at least two different names"),
    "an unknown detector": (
        ["{bare}", *TINY_MODEL, "--detector", "decre"],
        "unknown detector 'decre'; did you mean decree",
    ),
    "a detector of pairs": (
        ["{bare}", *TINY_MODEL, "--detector", "dao"],
        "must be a detector of models, got one of pairs",
    ),
    "a bad field": (
        ["{bare}", *TINY_MODEL, "--detector", "decree:epochs=0"],
        "decree:epochs must be greater than",
    ),
    "an unknown repair": (
        ["{bare}", *TINY_MODEL, "--repair", "cleanclp"],
        "unknown repair 'cleanclp'; did you mean cleanclip",
    ),
    "no true trigger": (["{bare}", *TINY_MODEL, "--repair", "tbar"], "needs the true trigger, which an audit"),
    "no suspect pairs": (
        ["{bare}", *TINY_MODEL, "--repair", "eftclip"],
        "needs the pairs that the model was trained on",
    ),
    "a batch too large": (
        ["{bare}", *TINY_MODEL, "--repair", "cleanclip:batch_size=999"],
        "batch_size must be at most the 199",
    ),
    "another folder": (["{bare}", *TINY_MODEL, "--out", "{used}"], "it holds other things"),
    "a file for a folder": (["{bare}", *TINY_MODEL, "--out", "{bare}"], "--out must be a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_nothing_is_written(
    case: str, bad: dict[str, str], tmp_path: Path, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [re.sub(r"\{(.+?)\}", lambda found: bad[found[1]], word) for word in REFUSED[case][0]]
    monkeypatch.setenv("BACKSTOP_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    given = [*words, *([] if "--data" in words else ["--data", bad["data"]])]
    done = audit(*given)
    assert (done.code, done.out) == (2, "")
    assert done.last.startswith("backstop: ")
    assert REFUSED[case][1] in done.last
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_repair_without_labels_is_refused_before_any_compute(
    bare: Path, captioned: Path, tmp_path: Path, audit: Audit
) -> None:
    words = (str(bare), "--data", str(captioned), *TINY_MODEL, "--set", "image=picture", "--set", "caption=words")
    done = audit(*words, "--repair", "supervised-fine-tuning", "--out", str(tmp_path / "a"))
    assert done.code == 2
    assert "needs labels of the clean images; give a label column or a folder for each class" in done.last
    assert not list(tmp_path.iterdir())


def test_a_repair_that_fails_on_its_way_leaves_the_rest_of_the_report(
    bare: Path, folder: Path, tmp_path: Path, audit: Audit
) -> None:
    words = (str(bare), "--data", str(folder), *TINY_MODEL, *QUICK, "--repair", "rvpt:epochs=1")
    done = audit(*words, "--out", str(tmp_path / "a"), "--json")
    assert done.code == 2
    assert "--repair rvpt: " in done.last
    assert "the report is written" in done.last
    found = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert found["repair"]["status"] == "failed"
    assert found["detectors"][0]["score"] is not None
    assert not (tmp_path / "a" / "repaired").exists()


def test_an_earlier_audit_is_replaced_whole(bare: Path, folder: Path, tmp_path: Path, audit: Audit) -> None:
    out = tmp_path / "a"
    out.mkdir()
    (out / "audit.json").write_text("{}")
    (out / "stale.png").write_bytes(b"")
    words = (str(bare), "--data", str(folder), *TINY_MODEL, *QUICK, "--out", str(out))
    assert audit(*words).code == 0
    assert not (out / "stale.png").exists()
    assert (out / "audit.html").exists()
