"""`hf`: each local layout, columns, labels, broken rows, splits, content hash, no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from benchmark.config.spec import Splits
from benchmark.data.prepare import prepare_data
from benchmark.datasets.hugging_face.content import content_hash
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.datasets.known import Cifar10
from benchmark.errors import UserError
from tests.helpers.datasets import as_stored, encoded, mini_cifar, write_parquet, write_tar

BROKEN = b"\xff\xd8 this is no image"
TINY = Splits(clean=2, validation=2, test=2)


def test_parquet_pairs(tmp_path: Path) -> None:
    images = as_stored([encoded(10 * k) for k in range(5)])
    images[3]["bytes"] = BROKEN
    columns = {"photo": images, "text": [f"caption {k}" for k in range(5)]}
    write_parquet(tmp_path / "set.parquet", columns, {"photo": datasets.Image(), "text": datasets.Value("string")})
    source = HuggingFace(path=str(tmp_path / "set.parquet")).open(image_size=8)
    assert (source.num_rows, source.class_names, source.fixed_splits) == (5, (), {})
    samples = source.read([4, 3, 0])
    assert samples.rows.tolist() == [4, 0]
    assert samples.captions == ["caption 4", "caption 0"]
    assert samples.broken == ["3.png"]
    assert samples.keys == ["4.png", "0.png"]
    assert samples.labels.tolist() == [-1, -1]
    assert samples.images.shape == (2, 8, 8, 3)
    assert samples.images[:, 0, 0].tolist() == [[40, 100, 200], [0, 100, 200]]


def test_webdataset_memory_mapped_and_streamed_agree(tmp_path: Path) -> None:
    write_tar(tmp_path / "x-train-0000.tar", [{"png": encoded(k), "txt": f"first {k}".encode()} for k in range(4)])
    write_tar(
        tmp_path / "x-train-0001.tar", [{"png": encoded(50 + k), "txt": f"second {k}".encode()} for k in range(3)]
    )
    plain = HuggingFace(path=str(tmp_path)).open(image_size=8)
    streamed = HuggingFace(path=str(tmp_path), streaming=True).open(image_size=8)
    assert plain.num_rows == streamed.num_rows == 7
    rows = [6, 0, 4]
    for source in (plain, streamed):
        samples = source.read(rows)
        assert samples.captions == ["second 2", "first 0", "second 0"]
        assert samples.images[:, 4, 4, 0].tolist() == [52, 0, 50]
    orders = [[item.row for item in source.stream(seed=5, epoch=2)] for source in (plain, streamed)]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(7))
    assert [item.row for item in streamed.stream(seed=5, epoch=3)] != orders[0]
    texts = {item.row: item.caption for item in streamed.stream(seed=5, epoch=3)}
    assert texts[6] == "second 2"


@pytest.mark.parametrize("streaming", [False, True])
def test_image_folder_with_classes(tmp_path: Path, streaming: bool) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog", "eel") if split == "train" else ("dog", "eel"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for k in range(3):
                (folder / f"{k}.png").write_bytes(encoded(len(name) + k))
    source = HuggingFace(path=str(tmp_path), test_split="test", streaming=streaming).open(image_size=8)
    assert source.class_names == ("cat", "dog", "eel")
    assert source.num_rows == 15
    assert source.fixed_splits["test"].tolist() == list(range(9, 15))
    samples = source.read(list(range(15)))
    assert samples.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [1] * 3 + [2] * 3  # test classes by name
    assert samples.captions == [""] * 15
    assert samples.keys[0] == os.path.join("train", "cat", "0.png")


def test_image_folder_with_captions(tmp_path: Path) -> None:
    for k in range(4):
        (tmp_path / f"{k}.png").write_bytes(encoded(k))
    lines = "\n".join(f"{k}.png,number {k}" for k in range(4))
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{lines}\n")
    source = HuggingFace(path=str(tmp_path)).open(image_size=8)
    assert source.read([2, 1]).captions == ["number 2", "number 1"]


def test_csv_paths_are_relative_to_the_csv(tmp_path: Path) -> None:
    folder = tmp_path / "some where"
    (folder / "images").mkdir(parents=True)
    for k in range(3):
        (folder / "images" / f"{k}.jpg").write_bytes(encoded(k, format="JPEG"))
    (folder / "train.csv").write_text(
        'image,caption\nimages/0.jpg,"zero, or nought"\nimages/1.jpg,one\nimages/gone.jpg,lost\nimages/2.jpg,\n'
    )
    source = HuggingFace(path=str(folder), image_column="image").open(image_size=8)
    samples = source.read(range(4))
    assert samples.captions == ["zero, or nought", "one", ""]
    assert samples.broken == ["images/gone.jpg"]


def test_text_labels_become_classes(tmp_path: Path) -> None:
    columns = {"image": as_stored([encoded(k) for k in range(4)]), "label": ["owl", "ant", "owl", None]}
    write_parquet(tmp_path / "a.parquet", columns, {"image": datasets.Image(), "label": datasets.Value("string")})
    source = HuggingFace(path=str(tmp_path)).open(image_size=8)
    assert source.class_names == ("ant", "owl")
    assert source.read(range(4)).labels.tolist() == [1, 0, 1, -1]
    chosen = HuggingFace(path=str(tmp_path), class_names=("owl", "ant")).open(image_size=8)
    assert chosen.read(range(3)).labels.tolist() == [0, 1, 0]


def test_missing_path_column_and_split_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cifar10.path must be .* no such path"):
        Cifar10(path=str(tmp_path / "nowhere")).open(image_size=8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="must hold files of"):
        HuggingFace(path=str(tmp_path / "empty")).open(image_size=8)
    folder = mini_cifar(tmp_path / "c")
    with pytest.raises(UserError, match="unknown column 'lable'; did you mean label"):
        Cifar10(path=str(folder), label_column="lable").open(image_size=8)
    with pytest.raises(UserError, match=r"unknown split 'validation'.*test_split"):
        Cifar10(path=str(folder), test_split="validation").open(image_size=8)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.parquet").write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"hf: .* cannot be read"):
        HuggingFace(path=str(tmp_path / "bad")).open(image_size=8)


def test_fields_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="path"):
        HuggingFace()
    with pytest.raises(ValidationError, match="hub_revision"):
        HuggingFace(hub="owner/name")
    with pytest.raises(ValidationError, match="40-digit"):
        Cifar10(hub_revision="main")
    with pytest.raises(ValidationError, match="disjoint"):
        HuggingFace(path="x", caption_templates=("a {}",), evaluation_templates=("A {} ",))
    with pytest.raises(ValidationError, match=r"one '\{\}'"):
        HuggingFace(path="x", caption_templates=("a thing",))


def prepare(tmp_path: Path, columns: dict[str, list[Any]], features: dict[str, Any], **fields: Any) -> dict[str, Any]:
    write_parquet(tmp_path / "set" / "train.parquet", columns, features)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    spec = HuggingFace(path=str(tmp_path / "set"), **fields)
    return prepare_data(spec, TINY, image_size=8, held_out_only=False, folder=out)


PAIRS = {"image": datasets.Image(), "caption": datasets.Value("string")}


def test_broken_images_and_empty_captions_are_counted_and_skipped(tmp_path: Path) -> None:
    images = as_stored([encoded(k) for k in range(20)])
    images[4]["bytes"] = BROKEN
    captions = [f"c{k}" for k in range(20)]
    captions[7], captions[11] = "", "   "
    facts = prepare(tmp_path, {"image": images, "caption": captions}, PAIRS)
    assert facts["broken"] == {"count": 1, "keys": ["4.png"]}
    assert sorted(facts["empty_captions"]["keys"]) == ["11.png", "7.png"]
    table = pq.read_table(tmp_path / "out" / "rows.parquet").to_pandas()
    assert set(table["row"]) == set(range(20)) - {4, 7, 11}
    stored = np.load(tmp_path / "out" / "images.npy")[: len(table)]
    assert stored[:, 3, 3, 0].tolist() == table["row"].tolist()
    assert sum(facts["splits"].values()) == 17


def test_mostly_broken_or_captionless_sets_are_refused(tmp_path: Path) -> None:
    images = as_stored([encoded(k) if k < 5 else BROKEN for k in range(20)])
    with pytest.raises(UserError, match=r"at least half of 20, got 5 \(15 are missing or broken"):
        prepare(tmp_path / "a", {"image": images, "caption": ["c"] * 20}, PAIRS)
    good = as_stored([encoded(k) for k in range(20)])
    with pytest.raises(UserError, match="rows with a caption or a label must be at least half of 20, got 2"):
        prepare(tmp_path / "b", {"image": good, "caption": ["c"] * 2 + [""] * 18}, PAIRS)


def test_too_few_rows_and_labels_outside_the_names_are_refused(tmp_path: Path) -> None:
    good = as_stored([encoded(k) for k in range(6)])
    with pytest.raises(UserError, match=r"must be at least 7 .* got 6"):
        prepare(tmp_path / "a", {"image": good, "caption": ["c"] * 6}, PAIRS)
    columns = {"image": as_stored([encoded(k) for k in range(10)]), "label": [0, 1, 2, 3, 1, 1, 1, 1, 1, 1]}
    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    with pytest.raises(UserError, match="labels must be 0 to 2"):
        prepare(tmp_path / "b", columns, features, class_names=("a", "b", "c"))
    with pytest.raises(UserError, match="class_names must name the classes"):
        prepare(tmp_path / "b", columns, features)


def test_content_hash_follows_bytes_and_names_but_not_the_place(tmp_path: Path) -> None:
    def hashed(folder: str, **files: bytes) -> str:
        root = tmp_path / folder
        root.mkdir()
        for name, data in files.items():
            (root / name).write_bytes(data)
        return content_hash(list(root.iterdir()), root)

    first = hashed("a", x=b"1", y=b"2")
    assert first == hashed("b", x=b"1", y=b"2")
    assert first != hashed("c", x=b"1", y=b"3")
    assert first != hashed("d", x=b"1", z=b"2")
    cached = content_hash(list((tmp_path / "a").iterdir()), tmp_path / "a")
    assert cached == first
    assert (tmp_path / "user-cache" / "content-hashes.json").is_file()
    (tmp_path / "a" / "x").write_bytes(b"longer")
    assert content_hash(list((tmp_path / "a").iterdir()), tmp_path / "a") != first
