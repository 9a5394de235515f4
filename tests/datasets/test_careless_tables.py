"""Tables as careless hands leave them: each mistake is one line that names the place, and no row is read wrongly."""

from __future__ import annotations

import io
import os
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
ROWS = 20
SIZES = Splits(clean=4, validation=4, test=4)
WORDS = [("cat", "dog")[row % 2] for row in range(ROWS)]


def images(folder: Path) -> list[str]:
    (folder / "images").mkdir(parents=True)
    for row in range(ROWS):
        Image.new("RGB", (8, 8), (row, 0, 0)).save(folder / "images" / f"{row}.png")
    return [f"images/{row}.png" for row in range(ROWS)]


def csv(folder: Path, head: str, rows: Callable[[int, str], str], *, encoding: str = "utf-8") -> Path:
    lines = [head, *(rows(row, name) for row, name in enumerate(images(folder)))]
    (folder / "train.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder


def prepare(tmp_path: Path, folder: Path, **fields: Any) -> dict[str, Any]:
    """What a run does with a set: its key, then its rows."""
    spec = HuggingFace(path=str(folder), **fields)
    spec.revision()
    out = tmp_path / "out"
    out.mkdir()
    return prepare_data(spec, SIZES, image_size=8, held_out_only=spec.streaming, folder=out)


def ragged(folder: Path) -> Path:
    return csv(folder, "image,label", lambda row, name: f"{name},{WORDS[row]}" + ",more" * (row == 7))


def without_rows(folder: Path) -> Path:
    images(folder)
    (folder / "train.csv").write_text("image,label\n")
    return folder


def numbers_too_large(folder: Path) -> Path:
    return csv(folder, "image,label", lambda _, name: f"{name},{10**25}")


def parquet(folder: Path, **columns: Any) -> Path:
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "train.parquet")
    return folder


def pictures_of_numbers(folder: Path) -> Path:
    return parquet(folder, image=list(range(ROWS)), label=WORDS)


def pictures_of_lists(folder: Path) -> Path:
    return parquet(folder, image=[[[0, 0, 0]] * 4] * ROWS, label=WORDS)


def one_column_twice(folder: Path) -> Path:
    return csv(folder, "image,label,image", lambda row, name: f"{name},{WORDS[row]},other.png")


def spaces_behind_labels(folder: Path) -> Path:
    return csv(folder, "image,label", lambda row, name: f"{name},{WORDS[row]}{' ' * (row % 4 == 0)}")


def of_another_encoding(folder: Path) -> Path:
    return csv(folder, "image,caption", lambda row, name: f"{name},café {row}", encoding="latin-1")


MISTAKES = [
    (ragged, "cannot be read .*Expected 2 fields in line 9, saw 3.*; "),
    (without_rows, "cannot be read|image_column must name a column"),
    (numbers_too_large, "cannot be read .*too large"),
    (pictures_of_numbers, "split 'train', column 'image' must be images, encoded ones or paths, got"),
    (pictures_of_lists, "split 'train', column 'image' must be images, encoded ones or paths, got"),
    (one_column_twice, "column 'image' must be there once, got 2; rename the others"),
    (of_another_encoding, "cannot be read .*; save it as UTF-8"),
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("write", "told"), MISTAKES)
def test_a_mistake_in_a_table_is_one_line(
    write: Callable[[Path], Path], told: str, streaming: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"class_names": ("cat", "dog")} if streaming else {}
    folder = write(tmp_path / "set")
    with pytest.raises(UserError, match=told) as raised:
        prepare(tmp_path, folder, streaming=streaming, **names)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""  # the library's own words are part of the line


def test_a_class_that_is_written_in_two_ways_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"differ by more than spaces at their ends, got \('cat', 'cat '\)"):
        prepare(tmp_path, spaces_behind_labels(tmp_path / "set"))


def test_a_row_without_a_group_is_one_by_itself(tmp_path: Path) -> None:
    folder = csv(tmp_path / "set", "image,label,scene", lambda row, name: f"{name},{WORDS[row]},{'ab'[row : row + 1]}")
    groups = HuggingFace(path=str(folder), group_column="scene").open(image_size=8).groups
    assert groups is not None and len(set(groups.tolist())) == ROWS
    assert groups[:2].tolist() == [0, 1]  # those with a name come first, in its order: draws of other sets stay


def test_a_split_of_which_no_row_is_left_is_told(tmp_path: Path) -> None:
    folder = csv(tmp_path / "set", "image,label", lambda row, name: f"{name},{WORDS[row]}")
    lines = [f"images/none-{row}.png,{WORDS[row]}" for row in range(4)]
    (folder / "test.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    with pytest.raises(UserError, match="there must be rows that can be used for split 'test', got none; "):
        prepare(tmp_path, folder, test_split="test")


def test_a_pipe_in_the_place_of_an_image_is_a_missing_image(tmp_path: Path) -> None:
    folder = csv(tmp_path / "set", "image,label", lambda row, name: f"{name},{WORDS[row]}")
    (folder / "images" / "0.png").unlink()
    os.mkfifo(folder / "images" / "0.png")
    assert prepare(tmp_path, folder)["broken"] == {"count": 1, "keys": ["images/0.png"]}


def test_windows_line_ends_commas_and_half_images_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    names = images(folder)
    odd = folder / "images" / 'a, "b" é.png'
    (folder / names[0]).rename(odd)
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(whole, "JPEG")
    (folder / names[1]).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    quoted = ['"images/a, ""b"" é.png"', *names[1:]]
    lines = ["image,label", *(f"{name},{WORDS[row]}" for row, name in enumerate(quoted))]
    (folder / "train.csv").write_bytes("\r\n".join(lines).encode())
    facts = prepare(tmp_path, folder)
    assert facts["class_names"] == ["cat", "dog"]
    assert facts["broken"] == {"count": 1, "keys": ["images/1.png"]}  # half an image is none
