"""`hf` and the known sets: each local layout, columns, labels, broken rows, splits, content hash, no network."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from benchmark.config.spec import Splits
from benchmark.data.images import decode, shuffle
from benchmark.data.prepare import prepare_data
from benchmark.datasets.hugging_face.content import content_hash
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.datasets.known import CC3M, Cifar10, CocoCaptions, ImageNet1K
from benchmark.errors import UserError
from benchmark.types.source import Item

BROKEN = b"\xff\xd8 this is no image"
TINY = Splits(clean=2, validation=2, test=2)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own caches, and no network."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("local data must not touch the network")

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "user-cache"))
    monkeypatch.setattr(socket.socket, "connect", refused)


def encoded(value: int, size: tuple[int, int] = (12, 8), format: str = "PNG") -> bytes:
    """An image of one colour; `value` is its red."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 100, 200)).save(buffer, format)
    return buffer.getvalue()


def write_parquet(file: Path, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(file)


def write_tar(file: Path, samples: list[dict[str, bytes]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for place, sample in enumerate(samples):
            for suffix, data in sample.items():
                entry = tarfile.TarInfo(f"{place:06d}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def as_stored(values: list[bytes]) -> list[dict[str, Any]]:
    return [{"bytes": value, "path": f"{place}.png"} for place, value in enumerate(values)]


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


def test_decode_crops_the_centre_and_converts() -> None:
    wide = Image.new("RGB", (40, 10), (255, 0, 0))
    wide.paste((0, 255, 0), (15, 0, 25, 10))
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    middle = decode(buffer.getvalue(), 10)
    assert middle is not None
    assert (middle == [0, 255, 0]).all()
    buffer = io.BytesIO()
    Image.new("L", (30, 20), 77).save(buffer, "PNG")
    assert np.array_equal(decode(buffer.getvalue(), 8), np.full((8, 8, 3), 77, np.uint8))
    assert decode(encoded(1)[:40], 8) is None
    assert decode(b"", 8) is None


def test_large_jpeg_through_draft_mode_stays_close_to_the_full_decode() -> None:
    ramp = np.linspace(0, 255, 400, dtype=np.uint8)
    picture = Image.fromarray(np.stack([np.tile(ramp, (300, 1)), np.tile(ramp[:300, None], (1, 400))] * 2, 2)[..., :3])
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    small = decode(buffer.getvalue(), 32)
    whole = picture.resize((43, 32), Image.Resampling.BICUBIC).crop((5, 0, 37, 32))
    assert small is not None
    assert np.abs(small.astype(int) - np.asarray(whole)).mean() < 3


def test_shuffle_buffer_is_a_permutation_that_the_seed_decides() -> None:
    items = [Item(row, None, "", -1, "") for row in range(3000)]
    first = [item.row for item in shuffle(iter(items), seed=1, buffer=100)]
    assert sorted(first) == list(range(3000))
    assert first == [item.row for item in shuffle(iter(items), seed=1, buffer=100)]
    assert first != [item.row for item in shuffle(iter(items), seed=2, buffer=100)]
    assert np.mean(np.abs(np.array(first) - np.arange(3000))) > 50


# --- known sets, in miniature but in their hub layout ------------------------------------------------------------


def mini_cifar(folder: Path, train: int = 30, test: int = 10) -> Path:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    features = {"img": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    for split, count in (("train", train), ("test", test)):
        columns = {
            "img": as_stored([encoded(k, (32, 32)) for k in range(count)]),
            "label": [k % 10 for k in range(count)],
        }
        write_parquet(folder / "plain_text" / f"{split}-00000-of-00001.parquet", columns, features)
    return folder


def test_cifar10_layout(tmp_path: Path) -> None:
    folder = mini_cifar(tmp_path / "c")
    out = tmp_path / "out"
    out.mkdir()
    facts = prepare_data(
        Cifar10(path=str(folder)),
        Splits(clean=5, validation=5, test=8),
        image_size=32,
        held_out_only=False,
        folder=out,
    )
    assert facts["class_names"][:2] == ["airplane", "automobile"]
    assert facts["splits"] == {"pretrain": 20, "clean": 5, "validation": 5, "test": 8}
    assert facts["expected_rows"] == {"train": 50_000, "test": 10_000}
    table = pq.read_table(out / "rows.parquet").to_pandas()
    assert len(set(table["row"])) == len(table)
    assert (table.loc[table["split"] == "test", "row"] >= 30).all()
    assert (table.loc[table["split"] != "test", "row"] < 30).all()
    for row in table.itertuples():
        name = facts["class_names"][row.label]
        assert row.caption in [template.format(name) for template in facts["caption_templates"]]
    images = np.load(out / "images.npy", mmap_mode="r")
    assert images.shape == (38, 32, 32, 3)
    expected = np.where(table["row"] < 30, table["row"], table["row"] - 30)
    assert images[:, 9, 9, 0].tolist() == expected.tolist()


def test_imagenet_layout_shortens_names(tmp_path: Path) -> None:
    names = ["tench, Tinca tinca", "crane", "crane, machine", "banana"]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        labels = [-1] * count if split == "test" else [k % 4 for k in range(count)]
        columns = {"image": as_stored([encoded(k) for k in range(count)]), "label": labels}
        write_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", columns, features)
    source = ImageNet1K(path=str(tmp_path)).open(image_size=8)
    assert source.class_names == ("tench", "crane", "crane, machine", "banana")
    assert source.num_rows == 16  # the unlabelled test images are not read
    assert source.fixed_splits["test"].tolist() == [12, 13, 14, 15]
    assert not set(source.caption_templates) & set(source.evaluation_templates)


def test_cc3m_layout_is_streamed(tmp_path: Path) -> None:
    samples = [
        {"jpg": encoded(k, format="JPEG"), "json": b'{"url": "x"}', "txt": f"caption {k}".encode()} for k in range(12)
    ]
    write_tar(tmp_path / "c" / "cc3m-train-0000.tar", samples[:8])
    write_tar(tmp_path / "c" / "cc3m-train-0001.tar", samples[8:])
    write_tar(tmp_path / "c" / "cc3m-validation-0000.tar", samples[:3])
    out = tmp_path / "out"
    out.mkdir()
    spec = CC3M(path=str(tmp_path / "c"))
    facts = prepare_data(spec, TINY, image_size=8, held_out_only=True, folder=out)
    assert facts["num_rows"] == 12
    assert facts["splits"] == {"pretrain": 6, "clean": 2, "validation": 2, "test": 2}
    table = pq.read_table(out / "rows.parquet").to_pandas()
    assert set(table["split"]) == {"clean", "validation", "test"}
    assert table["caption"].tolist() == [f"caption {row}" for row in table["row"]]
    assert np.load(out / "excluded.npy").tolist() == sorted(table["row"])


def test_coco_rows_of_one_image_stay_together(tmp_path: Path) -> None:
    def split(name: str, first: int, images: int) -> None:
        ids = [first + k // 5 for k in range(5 * images)]
        columns = {
            "image": as_stored([encoded(k % 200) for k in ids]),
            "filename": [f"COCO_{k}.jpg" for k in ids],
            "cocoid": ids,
            "caption": [f"image {k}, caption {n % 5}" for n, k in enumerate(ids)],
        }
        features = {
            "image": datasets.Image(),
            "filename": datasets.Value("string"),
            "cocoid": datasets.Value("int32"),
            "caption": datasets.Value("string"),
        }
        write_parquet(tmp_path / "c" / "data" / f"{name}-00000-of-00001.parquet", columns, features)

    split("train", 0, 12)
    split("validation", 50, 2)
    split("test", 100, 4)
    out = tmp_path / "out"
    out.mkdir()
    spec = CocoCaptions(path=str(tmp_path / "c"))
    facts = prepare_data(spec, Splits(clean=7, validation=3, test=4), image_size=8, held_out_only=False, folder=out)
    table = pq.read_table(out / "rows.parquet").to_pandas()
    images_of = {name: part["key"].tolist() for name, part in table.groupby("split")}
    sets = [set(keys) for keys in images_of.values()]
    assert sum(map(len, sets)) == len(set.union(*sets))  # no image is in two splits
    assert len(set(images_of["validation"])) == 3  # one caption per image where partners must be unique
    assert len(set(images_of["test"])) == 4
    assert facts["splits"]["clean"] == 7


def test_known_sets_are_pinned_and_documented() -> None:
    for known in (Cifar10(), CC3M(), CocoCaptions(), ImageNet1K()):
        assert len(known.revision()) == 40
        assert known.licence
        assert known.citation
        assert known.expected_rows["train"] > 0
        assert known.identity()["revision"] == known.hub_revision


def test_hub_sets_are_loaded_at_their_revision_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mini_cifar(tmp_path)
    asked: list[tuple[Any, ...]] = []
    load = datasets.load_dataset

    def fake(name: str, config: str | None = None, **options: Any) -> Any:
        asked.append((name, config, options["revision"], options["split"], options["streaming"]))
        return load("parquet", data_files=str(folder / "plain_text" / f"{options['split']}-*.parquet"), split="train")

    monkeypatch.setattr(datasets, "load_dataset", fake)
    spec = Cifar10(expected_rows={"train": 30, "test": 10})
    assert spec.open(image_size=32).num_rows == 40
    revision = "0b2714987fa478483af9968de7c934580d0bb9a2"
    assert asked == [("uoft-cs/cifar10", None, revision, split, False) for split in ("train", "test")]
    with pytest.raises(UserError, match="must have 50000 rows at revision"):
        Cifar10().open(image_size=32)


# --- mistakes ----------------------------------------------------------------------------------------------------


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


# --- identity ----------------------------------------------------------------------------------------------------


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


def test_identity_does_not_hold_the_path(tmp_path: Path) -> None:
    one, two = (Cifar10(path=str(mini_cifar(tmp_path / name))) for name in ("one", "two"))
    changed = Cifar10(path=str(mini_cifar(tmp_path / "three", train=31)))
    assert one.identity() == two.identity()
    assert one.identity() != changed.identity()
    assert str(tmp_path) not in str(one.identity()) + one.label
    assert one.identity() != Cifar10(path=one.path, train_split="test", test_split=None).identity()


def shared_cifar() -> Path:
    given = os.environ.get("BACKSTOP_SHARED")
    root = Path(given) if given else Path(__file__).parents[3] / "shared"
    folder = root / "data" / "cifar10"
    if not folder.is_dir():
        pytest.skip("needs the shared CIFAR-10 subset: set BACKSTOP_SHARED to the folder that holds data/cifar10")
    return folder


def test_shared_photographs() -> None:
    source = Cifar10(path=str(shared_cifar())).open(image_size=32)
    assert source.num_rows == 25_000
    assert source.fixed_splits["test"].tolist() == list(range(20_000, 25_000))
    samples = source.read(np.arange(0, 25_000, 500))
    assert samples.images.shape == (50, 32, 32, 3)
    assert not samples.broken
    assert len(set(samples.labels.tolist())) == 10
