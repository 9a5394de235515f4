"""Tables that name images by path: the images belong to the key; labels are read however the table stores them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.config.spec import Splits
from benchmark.data.prepare import prepare_data
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.errors import UserError

pytestmark = pytest.mark.unit
NAMES = ("red", "green", "red", "blue")


def encoded(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def images(folder: Path, count: int = 4) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(count):
        (folder / f"{place}.png").write_bytes(encoded(place))
    return [f"{folder.name}/{place}.png" for place in range(count)]


def as_csv(folder: Path) -> None:
    rows = "\n".join(f"{name},caption {place}" for place, name in enumerate(images(folder / "images")))
    (folder / "train.csv").write_text(f"image,caption\n{rows}\n")


def as_tsv(folder: Path) -> None:
    rows = "\n".join(f"{name}\tcaption {place}" for place, name in enumerate(images(folder / "images")))
    (folder / "train.tsv").write_text(f"image\tcaption\n{rows}\n")


def as_parquet(folder: Path) -> None:
    names = images(folder / "images")
    pq.write_table(pa.table({"image": names, "caption": ["a", "b", "c", "d"]}), folder / "train.parquet")


def as_struct(folder: Path) -> None:
    """Two images inside the table, two beside it."""
    names = images(folder / "images")
    stored = [{"path": name, "bytes": encoded(9) if place < 2 else None} for place, name in enumerate(names)]
    pq.write_table(pa.table({"image": stored, "caption": ["a", "b", "c", "d"]}), folder / "train.parquet")


def as_folder(folder: Path) -> None:
    images(folder / "images")
    rows = "\n".join(f"{place}.png,caption {place}" for place in range(4))
    (folder / "images" / "metadata.csv").write_text(f"file_name,text\n{rows}\n")


LAYOUTS = [as_csv, as_tsv, as_parquet, as_struct, as_folder]


@pytest.mark.parametrize("write", LAYOUTS)
def test_a_replaced_or_missing_image_is_another_set(tmp_path: Path, write: Callable[[Path], None]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write(one)
    write(two)
    first = HuggingFace(path=str(one)).revision()
    assert first == HuggingFace(path=str(two)).revision()  # wherever it lies
    (two / "images" / "3.png").write_bytes(encoded(200))
    replaced = HuggingFace(path=str(two)).revision()
    assert replaced != first
    (two / "images" / "3.png").unlink()
    assert HuggingFace(path=str(two)).revision() not in (first, replaced)
    (two / "images" / "3.png").write_bytes(encoded(3))
    assert HuggingFace(path=str(two)).revision() == first


@pytest.mark.parametrize("write", LAYOUTS)
def test_images_are_found_from_the_tables_folder(
    tmp_path: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "set")
    monkeypatch.chdir(tmp_path)  # not from where the command runs
    samples = HuggingFace(path=str(tmp_path / "set")).open(image_size=8).read(range(4))
    assert not samples.broken
    assert samples.images[2:, 0, 0, 0].tolist() == [2, 3]


def test_what_is_read_of_a_csv_is_what_counts(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    names = images(folder / "images")
    (folder / "shown.png").write_bytes(encoded(1))
    lines = [f'"{name}","a, b\nc",{folder}/shown.png' for name in names]
    (folder / "train.csv").write_text("\ufeffthumb,caption,image\n\n" + "\n".join(lines) + "\n,gone,\n")
    spec = HuggingFace(path=str(folder))
    assert spec.open(image_size=8).read(range(5)).images[:, 0, 0, 0].tolist() == [1] * 4
    first = spec.revision()
    (folder / "images" / "0.png").write_bytes(encoded(99))  # a column that nobody reads
    assert spec.revision() == first
    (folder / "shown.png").write_bytes(encoded(98))
    assert spec.revision() != first
    with pytest.raises(UserError, match="unknown column 'imgae'"):
        HuggingFace(path=str(folder), image_column="imgae").revision()


def test_an_address_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("image,caption\nmemory://a.png,one\nmemory://b.png,two\n")
    spec = HuggingFace(path=str(tmp_path))
    first = spec.revision()
    (tmp_path / "train.csv").write_text("image,caption\nmemory://a.png,one\nmemory://c.png,two\n")
    assert spec.revision() != first


def test_sets_that_hold_their_images_keep_their_keys(tmp_path: Path) -> None:
    from benchmark.datasets.hugging_face.content import content_hash

    stored = [{"path": f"{place}.png", "bytes": encoded(place)} for place in range(4)]
    file = tmp_path / "a" / "train.parquet"
    file.parent.mkdir()
    pq.write_table(pa.table({"image": stored, "caption": ["a"] * 4}), file)
    assert HuggingFace(path=str(file.parent)).revision() == content_hash([file], file.parent)


def labelled_csv(folder: Path, labels: list[Any], **fields: Any) -> HuggingFace:
    names = images(folder / "images", len(labels))
    rows = "\n".join(f"{name},{label}" for name, label in zip(names, labels, strict=True))
    (folder / "train.csv").write_text(f"image,label\n{rows}\n")
    return HuggingFace(path=str(folder), **fields)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_csv_with_words_as_labels_is_read(tmp_path: Path, streaming: bool) -> None:
    given: dict[str, Any] = {"class_names": ("red", "green", "blue"), "streaming": streaming}
    chosen = labelled_csv(tmp_path, list(NAMES), **given).open(image_size=8)
    assert chosen.class_names == ("red", "green", "blue")
    assert chosen.read(range(4)).labels.tolist() == [0, 1, 0, 2]
    if not streaming:  # a stream is not read through to name its classes
        found = HuggingFace(path=str(tmp_path)).open(image_size=8)
        assert found.class_names == ("blue", "green", "red")
        assert found.read(range(4)).labels.tolist() == [2, 1, 2, 0]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()])
def test_text_of_every_width_is_text(tmp_path: Path, type_: pa.DataType) -> None:
    columns = {"image": images(tmp_path / "images"), "label": pa.array(NAMES, type_)}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    source = HuggingFace(path=str(tmp_path)).open(image_size=8)
    assert source.class_names == ("blue", "green", "red")
    assert source.read(range(4)).labels.tolist() == [2, 1, 2, 0]


def test_numbers_stored_as_text_are_named_in_the_order_of_their_values(tmp_path: Path) -> None:
    columns = {"image": images(tmp_path / "images", 12), "label": [str(place + 1) for place in range(12)]}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    names = tuple(f"class {place}" for place in range(12))
    named = HuggingFace(path=str(tmp_path), class_names=names).open(image_size=8)
    assert named.read(range(12)).labels.tolist() == list(range(12))
    plain = HuggingFace(path=str(tmp_path)).open(image_size=8)
    assert [plain.class_names[label] for label in plain.read(range(12)).labels] == columns["label"]


def test_numbers_with_gaps_are_class_numbers_and_fractions_are_refused(tmp_path: Path) -> None:
    spec = labelled_csv(tmp_path / "a", [0, "", 2, 1], class_names=("red", "green", "blue"))
    assert spec.open(image_size=8).read(range(4)).labels.tolist() == [0, -1, 2, 1]
    wrong = labelled_csv(tmp_path / "b", [0, 1.5, 2, 1], class_names=("red", "green", "blue"))
    with pytest.raises(UserError, match=r"column 'label' must be class numbers, got 1.5; mend the column"):
        wrong.open(image_size=8).read(range(4))
    with pytest.raises(UserError, match=r"class_names must name the classes of column 'label' in the order"):
        HuggingFace(path=str(tmp_path / "a")).open(image_size=8)


def test_a_word_that_no_class_name_answers_to_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    names = ["red", "green"] * 6 + ["geen"]
    spec = labelled_csv(tmp_path / "set", names, class_names=("red", "green", "blue"), streaming=True)
    sizes = Splits(clean=3, validation=3, test=3, pretrain=4)
    with pytest.raises(UserError, match=r"unknown class 'geen'; did you mean green\?; name all classes"):
        prepare_data(spec, sizes, image_size=8, held_out_only=False, folder=out)
