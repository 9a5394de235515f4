"""A new method is on the board by its card alone: no list of titles, of controls or of needs is edited."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmark.config import registry
from benchmark.engine.document import write_suite
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.store.artifacts import Store
from benchmark.types import Card, Repair, RepairContext
from reports.cards import Card as Shown
from reports.cards import Cards, cards_of, needs_text, threat_model
from reports.grid import Names
from reports.labels import settings, titles
from reports.views import method_rows
from tests.helpers import fake_suite
from tests.helpers.pages import page_of

pytestmark = pytest.mark.unit


class Peek(Repair):
    """Does nothing, under a title of its own."""

    name: ClassVar[str] = "peek"
    card: ClassVar[Card] = Card(
        title="Peek & look", citation="none", access="weights", summary="For this test.", control="Nothing moves here."
    )

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        return model


def methods_of(store: Store, *repairs: Repair) -> Any:
    """The cards in the document of `smoke` with other repairs."""
    suite = registry.suite("smoke")().model_copy(update={"repairs": repairs})
    write_suite(store, suite, [], command="", environment={})
    document = store.read_json("suites/smoke.json")
    assert document is not None
    return document["methods"]


def test_a_plugin_shows_its_title_and_that_it_is_a_control(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    methods = methods_of(store, Peek())
    cells = [*fake_suite.grid((fake_suite.BADNET,), (0,)), fake_suite.entry("mmcl", fake_suite.BADNET, "peek", 0)]
    fake_suite.write(store, cells, {cells[-1]["cell"]: None})
    document = store.read_json("suites/demo.json")
    assert document is not None
    document["methods"]["repair"] |= methods["repair"]
    store.write_json("suites/demo.json", document)
    page = page_of(store, "demo", tmp_path / "board")
    controls = page[page.index('<section id="controls"') :]
    assert "<h3>Peek &amp; look</h3>" in controls and "Nothing moves here." in controls
    assert ">peek<" not in page


def test_the_board_says_what_that_run_asked_for(tmp_path: Path) -> None:
    plain, released = CleanCLIP(), CleanCLIP(variant="as_released")
    cards = cards_of({"methods": methods_of(Store(tmp_path), plain, released)}).repair
    assert needs_text(cards[plain.label]) == "clean pairs, text augmentation (EDA)"
    assert "optimiser state of pre-training" in needs_text(cards[released.label])


def test_the_board_says_what_was_not_run_as_published(tmp_path: Path) -> None:
    plain, released = CleanCLIP(), CleanCLIP(variant="as_released")
    cards = cards_of({"methods": methods_of(Store(tmp_path), plain, released)}).repair
    assert cards[plain.label].differs == ("variant as_released (the released code)",)
    assert cards[released.label].differs == ()
    rows = method_rows(Names({}, {}, {plain.label: "CleanCLIP"}, {}), Cards(repair=cards))
    assert [row.differs for row in rows] == ["variant as_released (the released code)"]


def test_beside_what_a_suite_sets_stands_what_it_would_be(tmp_path: Path) -> None:
    faster = CleanCLIP(epochs=5, learning_rate=1e-3)
    cards = cards_of({"methods": methods_of(Store(tmp_path), faster)}).repair
    (row,) = method_rows(Names({}, {}, {faster.label: "CleanCLIP"}, {}), Cards(repair=cards))
    assert row.settings == "epochs=5 (default 10), learning_rate=0.001 (default 1e-05)"
    assert settings("badnet(size=5,target=ring)", {"size": "16"}) == "size=5 (default 16), target=ring"
    assert settings("cleanclip(epochs=5)") == "epochs=5"  # of an older document, which has no defaults


def test_needs_in_words() -> None:
    suite = {"methods": {"repair": {"x": {"needs": ["trigger", "clean_pairs", "moon"], "external": ["<b>"]}}}}
    card = cards_of(suite).repair["x"]
    assert needs_text(card) == "clean pairs, the true trigger, moon, <b>"
    assert threat_model(card).startswith("declared oracle")
    assert threat_model(Shown(title="t")) == "with nothing but the model"
    assert threat_model(Shown()) == ""
    assert cards_of({"methods": None}) == Cards()


def test_only_fields_that_differ_are_named() -> None:
    found = titles(
        ["wanet(grid=4,target=bird)", "wanet(grid=224,target=bird)", "sig(target=bird)", "dao", "dao(retrain=True)"],
        {"wanet": "WaNet", "sig": "SIG", "dao": "DAO"},
    )
    assert list(found.values()) == ["WaNet (grid=4)", "WaNet (grid=224)", "SIG", "DAO", "DAO (retrain=True)"]
    assert list(titles(["x(a=1,b=[1, 2])", "x(a=1,b=[1, 3])"]).values()) == ["x (b=[1, 2])", "x (b=[1, 3])"]
    assert len(set(titles(["x(a=1)", "x(a=1,)"]).values())) == 2
