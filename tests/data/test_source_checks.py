"""What a set gives is checked where it is taken: no other shape, type, row or class stands as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from benchmark.config.spec import Splits
from benchmark.data.prepare import prepare_data
from benchmark.data.source_checks import alike, check_class_names
from benchmark.data.splits import assign_splits
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.errors import UserError
from benchmark.types import Dataset
from benchmark.types.source import Item, Outline, Samples

pytestmark = pytest.mark.unit
SIZES = Splits(pretrain=20, clean=10, validation=8, test=8)


class Changed:
    """An opened set that gives what another gives, changed."""

    def __init__(self, change: Any) -> None:
        self._source, self._change = Shapes(num_rows=60).open(image_size=8), change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, rows: np.ndarray) -> Samples:
        return self._change(self._source.read(rows))

    def stream(self, **options: Any) -> Iterator[Item]:
        return self._change(self._source.stream(**options))


def prepare(source: Any, folder: Path, *, streaming: bool = False) -> dict[str, Any]:
    made = SimpleNamespace(name="hostile", streaming=streaming, open=lambda image_size: source)
    folder.mkdir(exist_ok=True)
    return prepare_data(cast(Dataset, made), SIZES, image_size=8, held_out_only=streaming, folder=folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: found._replace(images=found.images / np.float32(255)), "images (20, 8, 8, 3) uint8, got"),
        (lambda found: found._replace(images=found.images[..., :1]), "got (20, 8, 8, 1) uint8"),
        (lambda found: found._replace(images=found.images[:1]), "got (1, 8, 8, 3) uint8"),
        (lambda found: found._replace(labels=found.labels + 0.4), "labels (20,) int64, got (20,) float64"),
        (lambda found: found._replace(captions=found.captions[1:]), "20 captions, got 19"),
        (lambda found: found._replace(rows=found.rows * 0), "the 20 rows that it is asked for"),
        (lambda found: Samples(*(part[1:] for part in found)), "the 20 rows that it is asked for"),
    ],
)
def test_what_read_gives_in_another_form_is_refused(change: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^hostile: `read` must give ") as caught:
        prepare(Changed(change), tmp_path)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda items: list(items)[1:], "got none of 1, e.g. row "),
        (lambda items: [item for item in items for _ in range(2)], "besides, or twice"),
        (lambda items: [item._replace(row=item.row + 1000) for item in items], "besides, or twice"),
    ],
)
def test_what_a_stream_gives_besides_or_leaves_out_is_refused(change: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^hostile: `stream` must give each row") as caught:
        prepare(Changed(change), tmp_path, streaming=True)
    assert reason in str(caught.value)


def test_drawn_images_of_a_stream_that_are_no_bytes_are_no_images(tmp_path: Path) -> None:
    spoilt = Changed(lambda items: (item._replace(image=item.image / np.float32(255)) for item in items))
    with pytest.raises(UserError, match="images that can be read must be at least half"):
        prepare(spoilt, tmp_path, streaming=True)


@pytest.mark.parametrize("name", ["caption_templates", "evaluation_templates"])
@pytest.mark.parametrize("templates", [(), ("a thing",), ("a {name} {}",)])
def test_templates_without_their_one_gap_are_refused(name: str, templates: tuple[str, ...], tmp_path: Path) -> None:
    source = Changed(lambda found: found)
    setattr(source, name, templates)
    with pytest.raises(UserError, match=rf"^hostile\.{name} must be texts with one"):
        prepare(source, tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fixed_splits": {"test": np.arange(55, 65)}}, "fixed_splits must be rows 0 to 59, got 64"),
        ({"fixed_splits": {"test": np.arange(9), "validation": np.arange(8, 20)}}, "got '1 twice'"),
        ({"groups": np.arange(4)}, "groups must be one number for each of the 60 rows, got (4,)"),
    ],
)
def test_splits_and_groups_that_do_not_fit_the_rows_are_refused(changes: dict[str, Any], reason: str) -> None:
    outline = Outline(60, ("cat", "dog"), {})._replace(**changes)
    with pytest.raises(UserError) as caught:
        assign_splits(outline, SIZES, pretrain="drawn", place="hostile")
    assert reason in str(caught.value)


def test_classes_without_a_name_are_refused_and_those_with_one_name_are_told() -> None:
    with pytest.raises(UserError, match=r"^data\.class_names must be not empty"):
        check_class_names(("cat", " "), "data")
    usual = ("missile", "dog", "missile", "sunglasses", "Sunglasses ")  # as ImageNet's are
    check_class_names(usual, "data")
    assert alike(usual) == ["missile", "sunglasses"]
    assert alike(("cat", "dog")) == []
