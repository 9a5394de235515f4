"""`backstop audit`: what it finds and what it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from PIL import Image
from safetensors.torch import load_file

from benchmark.audit import report
from benchmark.audit.weights import open_weights
from benchmark.store.artifacts import Store
from benchmark.testing import world
from tests.audit.conftest import Audit
from tests.helpers.tiny import differing, tensors

CLASSES = ("circle", "ring", "square", "star")
QUICK = ("--detector", "decree:epochs=1,num_images=32")
# what is right of a colon would, unescaped, become an element of the page or a cell of a Markdown table
EVIL = "<img src=x onerror=alert(1)> | `b`"


def test_a_planted_backdoor_is_found_shown_and_repaired(
    planted: Path, seer: Path, folder: Path, tmp_path: Path, audit: Audit
) -> None:
    out = tmp_path / "audit"
    words = (str(planted), "--data", str(folder), "--plugin", str(seer), "--detector", "seer", "--out", str(out))
    repair = ("--repair", "fine-tuning:epochs=6,batch_size=32,learning_rate=3e-3")
    done = audit(*words, *repair, "--json")
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
    again = audit(str(out / "repaired"), *words[1:-1], str(tmp_path / "again"), "--json")
    assert json.loads(again.out)["accuracy"] == after
    mended = open_weights(str(out / "repaired"), architecture=None, store=Store(tmp_path)).model
    assert differing(tensors(mended), tensors(world.backdoored().model))


def test_nothing_found_is_said_in_words(bare: Path, folder: Path, tmp_path: Path, audit: Audit) -> None:
    strict = ("--detector", "decree:epochs=2,num_images=32,threshold=1e-9")
    words = (str(bare), "--data", str(folder), "--model", "tiny-resnet", "--out", str(tmp_path / "a"))
    done = audit(*words, *strict)
    assert done.code == 0, done.err
    told = " ".join(done.out.split())
    assert "Nothing found by DECREE, which is no proof that the model is clean." in told
    assert str(tmp_path / "a" / "audit.html") in done.out.replace("\n", "").replace(" ", "")
    assert "is no proof" in (tmp_path / "a" / "audit.md").read_text()
    assert not (tmp_path / "a" / "repaired").exists()


def test_pairs_without_labels_are_measured_by_retrieval(
    bare: Path, captioned: Path, tmp_path: Path, audit: Audit
) -> None:
    words = (str(bare), "--data", str(captioned), "--model", "tiny-resnet", "--out", str(tmp_path / "a"), *QUICK)
    columns = ("--set", "image=picture", "--set", "data.caption=words", "--set", "splits.clean=80")
    repair = ("--repair", "fine-tuning:epochs=1,batch_size=32")
    done = audit(*words, *columns, *repair, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["data"]["clean"] == 80
    assert found["accuracy"]["what"] == "own caption first of 100"
    assert found["repair"]["accuracy"]["total"] == 100
    assert found["data"]["class_names"] == []


def test_the_same_seed_gives_the_same_audit(bare: Path, folder: Path, tmp_path: Path, audit: Audit) -> None:
    found = []
    for seed in ("1", "1", "2"):
        words = (str(bare), "--data", str(folder), "--model", "tiny-resnet", "--out", str(tmp_path / "a"), *QUICK)
        done = json.loads(audit(*words, "--seed", seed, "--json").out)
        done["detectors"][0].pop("wall_s")
        found.append(done)
    assert found[0] == found[1]
    assert found[0]["detectors"][0]["score"] != found[2]["detectors"][0]["score"]


def test_names_are_escaped_in_both_reports(bare: Path, folder: Path, tmp_path: Path, audit: Audit) -> None:
    file = tmp_path / "names.txt"
    file.write_text("\n".join([EVIL, *CLASSES[1:]]))
    words = (str(bare), "--data", str(folder), "--model", "tiny-resnet", "--classes", str(file), *QUICK)
    done = audit(*words, "--out", str(tmp_path / "a"))
    assert done.code == 0, done.err
    assert "<img src=x" not in (tmp_path / "a" / "audit.html").read_text()
    assert "<img src=x" not in (tmp_path / "a" / "audit.md").read_text()


def test_numbers_below_zero_have_a_minus_sign() -> None:
    assert (report.score(-0.145), report.points(-0.007)) == ("−0.1450", "−0.7 points")


def test_markdown_is_escaped() -> None:
    assert report.markdown(EVIL) == "&lt;img src=x onerror=alert\\(1\\)&gt; \\| \\`b\\`"
    assert report.code("a`b") == "`` a`b ``"
