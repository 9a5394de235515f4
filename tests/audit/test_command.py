"""`backstop audit`: what it takes, what it says of it, what it writes, and what it refuses in one line."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmark.audit import report
from benchmark.audit.weights import open_weights
from benchmark.cli import app
from benchmark.models.clip import save_delta
from benchmark.store.artifacts import Store
from benchmark.testing import world
from tests.helpers.checkpoints import open_clip_folder, transformers_folder
from tests.helpers.tiny import differing, tensors

CLASSES = ("circle", "ring", "square", "star")
QUICK = ("--detector", "decree:epochs=1,num_images=32")
# what is right of a colon would, unescaped, become an element of the page or a cell of a Markdown table
EVIL = "<img src=x onerror=alert(1)> | `b`"


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> SimpleNamespace:
    """Exit code, stdout and the last line of stderr of one audit, in this process."""
    monkeypatch.setattr(sys, "argv", ["backstop", "audit", *words])
    try:
        app.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    printed = capsys.readouterr()
    return SimpleNamespace(
        code=code, out=printed.out, err=printed.err, last=(printed.err.strip().splitlines() or [""])[-1]
    )


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


# --- what it finds and writes ------------------------------------------------------------------------------------


def test_a_planted_backdoor_is_found_shown_and_repaired(
    planted: Path,
    seer: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "audit"
    words = (str(planted), "--data", str(folder), "--plugin", str(seer), "--detector", "seer", "--out", str(out))
    repair = ("--repair", "fine-tuning:epochs=6,batch_size=32,learning_rate=3e-3")
    done = call(capsys, monkeypatch, *words, *repair, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found == json.loads((out / "audit.json").read_text()) | {"out": str(out)}
    (told,) = found["detectors"]
    assert (found["suspicious"], told["status"], told["target"]) == (True, "suspicious", "square")
    assert found["verdict"] == "Signs of a backdoor found by Seer. Suspected target: square."
    effect = told["effect"]
    assert effect["rate"] > 0.8 > 0.2 > effect["without"]  # as the kit measures the planted attack
    assert effect["repaired"] < effect["rate"]
    before, after = found["accuracy"], found["repair"]["accuracy"]
    assert before["what"] == "zero-shot accuracy"
    assert before["rate"] > 0.8
    assert before["low"] < before["rate"] < before["high"]
    assert after["total"] == before["total"] == found["data"]["validation"]
    page = (out / "audit.html").read_text()
    assert len(re.findall(r'src="data:image/png;base64,', page)) == 2 + 2 * 5
    assert not re.search(r"(src|href)=\"(?!data:|repaired/)", page)
    text = (out / "audit.md").read_text()
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert len(pictures) == 12
    for picture in pictures:
        Image.open(out / picture).verify()
    assert load_file(out / "0-seer-trigger.safetensors")["mask"].shape == (1, 32, 32)
    assert not list(tmp_path.glob(".audit-*"))
    # the new checkpoint is a checkpoint: it opens, it differs, and it is as accurate as was said
    again = call(capsys, monkeypatch, str(out / "repaired"), *words[1:-1], str(tmp_path / "again"), "--json")
    assert json.loads(again.out)["accuracy"] == after
    mended = open_weights(str(out / "repaired"), architecture=None, store=Store(tmp_path)).model
    assert differing(tensors(mended), tensors(world.backdoored().model))


def test_nothing_found_is_said_in_words(
    bare: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = ("--detector", "decree:epochs=2,num_images=32,threshold=1e-9")
    words = (str(bare), "--data", str(folder), "--model", "tiny-resnet", "--out", str(tmp_path / "a"))
    done = call(capsys, monkeypatch, *words, *strict)
    assert done.code == 0, done.err
    told = " ".join(done.out.split())
    assert "Nothing found by DECREE, which is no proof that the model is clean." in told
    assert str(tmp_path / "a" / "audit.html") in done.out.replace("\n", "").replace(" ", "")
    assert "is no proof" in (tmp_path / "a" / "audit.md").read_text()
    assert not (tmp_path / "a" / "repaired").exists()


def test_pairs_without_labels_are_measured_by_retrieval(
    bare: Path, captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (str(bare), "--data", str(captioned), "--model", "tiny-resnet", "--out", str(tmp_path / "a"), *QUICK)
    columns = ("--set", "image=picture", "--set", "data.caption=words", "--set", "splits.clean=80")
    repair = ("--repair", "fine-tuning:epochs=1,batch_size=32")
    done = call(capsys, monkeypatch, *words, *columns, *repair, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["data"]["clean"] == 80
    assert found["accuracy"]["what"] == "own caption first of 100"
    assert found["repair"]["accuracy"]["total"] == 100
    assert found["data"]["class_names"] == []


def test_the_same_seed_gives_the_same_audit(
    bare: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for seed in ("1", "1", "2"):
        words = (str(bare), "--data", str(folder), "--model", "tiny-resnet", "--out", str(tmp_path / "a"), *QUICK)
        done = json.loads(call(capsys, monkeypatch, *words, "--seed", seed, "--json").out)
        done["detectors"][0].pop("wall_s")
        found.append(done)
    assert found[0] == found[1]
    assert found[0]["detectors"][0]["score"] != found[2]["detectors"][0]["score"]


def test_names_are_escaped_in_both_reports(
    bare: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "names.txt"
    file.write_text("\n".join([EVIL, *CLASSES[1:]]))
    words = (str(bare), "--data", str(folder), "--model", "tiny-resnet", "--classes", str(file), *QUICK)
    done = call(capsys, monkeypatch, *words, "--out", str(tmp_path / "a"))
    assert done.code == 0, done.err
    assert "<img src=x" not in (tmp_path / "a" / "audit.html").read_text()
    assert "<img src=x" not in (tmp_path / "a" / "audit.md").read_text()


def test_markdown_is_escaped() -> None:
    assert report.markdown(EVIL) == "&lt;img src=x onerror=alert\\(1\\)&gt; \\| \\`b\\`"
    assert report.code("a`b") == "`` a`b ``"


# --- bad input ---------------------------------------------------------------------------------------------------


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
    case: str, bad: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [re.sub(r"\{(.+?)\}", lambda found: bad[found[1]], word) for word in REFUSED[case][0]]
    monkeypatch.setenv("BACKSTOP_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    given = [*words, *([] if "--data" in words else ["--data", bad["data"]])]
    done = call(capsys, monkeypatch, *given)
    assert (done.code, done.out) == (2, "")
    assert done.last.startswith("backstop: ")
    assert REFUSED[case][1] in done.last
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_repair_without_labels_is_refused_before_any_compute(
    bare: Path, captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (str(bare), "--data", str(captioned), *TINY_MODEL, "--set", "image=picture", "--set", "caption=words")
    done = call(capsys, monkeypatch, *words, "--repair", "supervised-fine-tuning", "--out", str(tmp_path / "a"))
    assert done.code == 2
    assert "needs labels of the clean images; give a label column or a folder for each class" in done.last
    assert not list(tmp_path.iterdir())


def test_a_repair_that_fails_on_its_way_leaves_the_rest_of_the_report(
    bare: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (str(bare), "--data", str(folder), *TINY_MODEL, *QUICK, "--repair", "rvpt:epochs=1")
    done = call(capsys, monkeypatch, *words, "--out", str(tmp_path / "a"), "--json")
    assert done.code == 2
    assert "--repair rvpt: " in done.last
    assert "the report is written" in done.last
    found = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert found["repair"]["status"] == "failed"
    assert found["detectors"][0]["score"] is not None
    assert not (tmp_path / "a" / "repaired").exists()


def test_an_earlier_audit_is_replaced_whole(
    bare: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a"
    out.mkdir()
    (out / "audit.json").write_text("{}")
    (out / "stale.png").write_bytes(b"")
    words = (str(bare), "--data", str(folder), *TINY_MODEL, *QUICK, "--out", str(out))
    assert call(capsys, monkeypatch, *words).code == 0
    assert not (out / "stale.png").exists()
    assert (out / "audit.html").exists()
