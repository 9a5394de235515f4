"""The known sets, in miniature but in their hub layout: columns, splits, names, revisions, identity."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmark.config.spec import Splits
from benchmark.data.prepare import prepare_data
from benchmark.datasets.known import CC3M, CC12M, Cifar10, CocoCaptions, ImageNet1K
from benchmark.errors import UserError
from tests.helpers.datasets import as_stored, encoded, mini_cifar, write_parquet, write_tar

TINY = Splits(clean=2, validation=2, test=2)


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
    for known in (Cifar10(), CC3M(), CC12M(), CocoCaptions(), ImageNet1K()):
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
