"""The page on parity lists what is tested: every file of data has a row, and every function it names is there."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

from tests.parity.golden import FOLDER

pytestmark = pytest.mark.unit
PAGE = (Path(__file__).parents[2] / "docs" / "parity.md").read_text(encoding="utf-8")
ITEMS = sorted(file.stem for file in FOLDER.glob("*.npz"))
OURS = sorted(set(re.findall(r"`(benchmark[\w.]+:[\w.]+)`", PAGE)))
TESTS = "\n".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))


def test_every_file_of_golden_data_has_one_row() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == ITEMS


@pytest.mark.parametrize("item", ITEMS)
def test_every_file_of_golden_data_is_read(item: str) -> None:
    assert re.search(rf'"{item}"', TESTS) or (item.startswith("triggers_") and 'f"triggers_{size}"' in TESTS)


@pytest.mark.parametrize("name", OURS)
def test_every_function_that_the_page_names_is_there(name: str) -> None:
    module, _, path = name.partition(":")
    assert callable(reduce(getattr, path.split("."), importlib.import_module(module)))
