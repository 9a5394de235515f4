"""The commands of docs/data.md read the layouts that stand above them."""

from __future__ import annotations

import io
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.config.overrides import override
from suites.cifar10 import suite

pytestmark = pytest.mark.unit
PAGE = Path(__file__).parents[2] / "docs" / "data.md"
LABELS = ("cat", "dog", "dog")


def encoded(value: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (value, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def parquet(folder: Path) -> None:
    for split in ("train", "test"):
        images = [{"bytes": encoded(place), "path": None} for place in range(3)]
        pq.write_table(pa.table({"picture": images, "kind": LABELS}), folder / f"{split}.parquet")


def image_folder(folder: Path) -> None:
    for split in ("train", "test"):
        for place, label in enumerate(LABELS):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            (folder / split / label / f"{place}.png").write_bytes(encoded(place))


def web_dataset(folder: Path) -> None:
    with tarfile.open(folder / "train-0000.tar", "w") as tar:
        for place, label in enumerate(LABELS):
            for suffix, data in (("jpg", encoded(place, "JPEG")), ("cls", str(int(label == "dog")).encode())):
                member = tarfile.TarInfo(f"{place:06d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def comma_separated(folder: Path) -> None:
    (folder / "images").mkdir()
    for place in range(3):
        (folder / "images" / f"{place}.png").write_bytes(encoded(place))
    rows = "\n".join(f"images/{place}.png,{label}" for place, label in enumerate(LABELS))
    (folder / "train.csv").write_text(f"image,label\n{rows}\n")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "Parquet": parquet,
    "Image folder": image_folder,
    "WebDataset": web_dataset,
    "CSV": comma_separated,
}


@pytest.mark.parametrize("title", LAYOUTS)
def test_the_command_under_each_layout_reads_it(title: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    LAYOUTS[title](folder)
    section = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    (command,) = re.findall(r"^backstop run cifar10 (.*)$", section, flags=re.MULTILINE)
    words = shlex.split(command.replace("FOLDER", str(folder)))
    assert set(words[::2]) == {"--set"}
    data = override(suite(), dict(word.partition("=")[::2] for word in words[1::2])).data
    source = data.open(image_size=32)
    samples = source.read(range(3))
    assert source.class_names == ("cat", "dog")
    assert samples.labels.tolist() == [0, 1, 1]
    assert not samples.broken
    assert len(data.revision()) == 32


def test_every_layout_of_the_page_is_tried() -> None:
    titles = re.findall(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    assert titles == [*LAYOUTS, "What counts"]
