"""The page in a browser, from a file: sort, filter, drill-down, links, compare, keyboard, hostile strings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from scipy import stats

from benchmark.stats import wilson
from benchmark.store.artifacts import Store
from reports.compile import compile_suite
from reports.labels import percent, signed
from reports.ranking import rankings, scored
from reports.site import write_index
from tests.helpers import fake_suite
from tests.helpers.browser import Page, chromium, tab
from tests.helpers.pages import page_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SEEDS = (0, 1, 2)
ATTACKS = (fake_suite.BADNET, fake_suite.BLENDED)
RIGHT_TO_LEFT = "wanet(x=\u202e<img src=x onerror=alert(1)>=1+1)"
ROWS = "[...document.querySelectorAll('#methods-table tbody tr:not(.band)')]"
BUTTONS = f"{ROWS}.map((row) => row.querySelector('th button').textContent)"


def column(name: str) -> str:
    """The texts of a column, without the small print."""
    cell = f"row.querySelector('td[data-column=\"{name}\"]')"
    main = f"({cell}.querySelector('strong') || {cell}.firstChild || {{}})"
    return f"{ROWS}.map((row) => {cell} && ({main}.textContent || ''))"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three seeds; those of MMCL fine-tuning differ in more than their number."""
    cells = fake_suite.grid(ATTACKS, SEEDS)
    changed: dict[str, fake_suite.Rows | None] = {}
    for cell in cells:
        if cell["repair"] == "fine-tuning" and cell["attack"] != "none":
            accuracy, _ = fake_suite.LEVELS[cell["objective"], "fine-tuning", "default"]
            left = 0.8 + 0.02 * cell["seed"] ** 2
            made = fake_suite.measures(accuracy - 0.013 * cell["seed"], left, objective=cell["objective"])
            changed[cell["cell"]] = [fake_suite.record(cell, "default", made=made)]
    return fake_suite.make_store(tmp_path_factory.mktemp("store"), cells, changed)


@pytest.fixture(scope="module")
def address(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    chromium()
    folder = tmp_path_factory.mktemp("boards")
    page_of(store, "demo", folder / "demo")
    write_index(folder)
    return (folder / "demo" / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with tab(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, address: str) -> Iterator[Page]:
    """The board, just opened; afterwards its console was quiet and it had asked for nothing but its own files."""
    browser.errors.clear()
    browser.requests.clear()
    browser.open(address)
    yield browser
    assert browser.errors == []
    root = address.rsplit("/", 2)[0]
    assert {url for url in browser.requests if not url.startswith((root, "about:blank"))} == set()


def test_the_table_says_what_the_ranking_says(page: Page, store: Store) -> None:
    results = compile_suite(store, "demo")
    (found,) = rankings(results.cells, fake_suite.names(results), results.cards)
    assert page.evaluate(BUTTONS) == [row.title for row in found.rows]
    assert page.evaluate(column("net")) == [row.net for row in found.rows]
    assert page.evaluate(column("lost")) == [signed(-value) if value else "±0.0" for value in lost(results, found)]
    assert page.evaluate(column("coverage")) == [row.coverage for row in found.rows]
    assert page.evaluate(column("pa")) == [row.poisoned for row in found.rows]
    ranks = page.evaluate(f"{ROWS}.map((row) => row.querySelector('.rank').lastChild.textContent)")
    assert ranks == [row.rank for row in found.rows]
    assert page.evaluate("document.documentElement.className") == "js"


def lost(results: Any, found: Any) -> list[float]:
    """Accuracy lost with the sign that the page gives it: above zero is a loss."""
    scores = [scored(results.cells, row.label) for row in found.rows]
    return [-round(one.loss, 12) if one else 0.0 for one in scores]


def test_the_worst_case_is_the_worst_attacked_model(page: Page, store: Store) -> None:
    cells = compile_suite(store, "demo").cells
    own = cells[(cells["repair"] == "cleanclip") & (cells["selection"] == "default") & cells["net_asr"].notna()]
    means = own.assign(net=own["net_asr"].clip(0, 1)).groupby(["objective", "attack"])["net"].mean()
    assert page.evaluate(column("worst"))[0] == percent(means.max())


def test_sorting_keeps_every_row_and_stays_in_the_address(page: Page, address: str) -> None:
    page.click("th [data-sort-by=net]")
    rising = [float(text) for text in page.evaluate(column("net"))]
    assert rising == sorted(rising) and len(rising) == 4
    page.click("th [data-sort-by=net]")
    assert [float(text) for text in page.evaluate(column("net"))] == rising[::-1]
    assert page.evaluate("location.hash") == "#sort=-net"
    page.open(page.evaluate("location.href"))
    assert [float(text) for text in page.evaluate(column("net"))] == rising[::-1]
    assert page.evaluate("document.querySelector('th[aria-sort=descending] button').textContent") == "Net ASR"


def test_filters_and_search_leave_what_was_asked_for(page: Page) -> None:
    page.type("[name=view]", "row")
    assert page.evaluate("document.querySelector('output').textContent") == "96 rows"
    page.type("[name=objective]", "mmcl-ssl")
    page.type("[name=repair]", "cleanclip")
    assert set(page.evaluate(column("objective"))) == {"MMCL+SSL"}
    assert set(page.evaluate(BUTTONS)) == {"CleanCLIP"}
    before = len(page.evaluate(BUTTONS))
    page.type("[name=text]", "oracle blended")
    assert set(page.evaluate(column("rule"))) == {"oracle"} and set(page.evaluate(column("attack"))) == {"Blended"}
    assert 0 < len(page.evaluate(BUTTONS)) < before
    page.open(page.evaluate("location.href"))
    assert set(page.evaluate(column("rule"))) == {"oracle"}
    page.click("[type=reset]")
    assert page.evaluate("location.hash") == ""
    assert len(page.evaluate(BUTTONS)) == 4


def test_rules_to_choose_from_are_those_that_the_view_has(page: Page) -> None:
    options = "[...document.querySelectorAll('[name=rule] option')].map((option) => option.textContent)"
    assert page.evaluate(options) == ["suite's default", "oracle", "trigger-blind"]
    page.type("[name=rule]", "oracle")
    assert page.evaluate(BUTTONS) == ["CleanCLIP", "no repair"]
    page.type("[name=view]", "row")
    page.type("[name=rule]", "undefended")
    assert set(page.evaluate(BUTTONS)) == {"no repair"}
    page.type("[name=view]", "defense")
    assert len(page.evaluate(BUTTONS)) == 4 and "rule" not in page.evaluate("location.hash")


def test_a_filter_takes_the_ranks_away_since_they_are_of_the_whole_suite(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('#methods-table .rank').length") == 4
    page.type("[name=attack]", fake_suite.BADNET)
    assert page.evaluate("document.querySelectorAll('#methods-table .rank').length") == 0
    assert "ranks hold for the whole suite" in page.evaluate("document.querySelector('output').textContent")
    assert set(page.evaluate(column("coverage"))) == {"6 of 6"}


def test_columns_are_chosen_and_others_loaded_from_their_file(page: Page) -> None:
    page.type("[name=view]", "row")
    page.evaluate("document.querySelector('.chooser [value=floor]').click()")
    heads = "[...document.querySelectorAll('#methods-table thead button')].map((button) => button.textContent)"
    assert "Floor" not in page.evaluate(heads)
    page.click("[data-further='0']")
    page.wait("document.querySelector('.chooser [value=\"m0.0\"]') !== null")
    page.evaluate("document.querySelector('.chooser [value=\"m0.0\"]').click()")
    assert "m0.0" in page.evaluate("location.hash")
    page.open(page.evaluate("location.href"))
    page.wait("document.querySelector('td[data-column=\"m0.0\"]') !== null")
    assert "of 2000; 95 % Wilson interval" in page.evaluate(column("m0.0"))[0]


def test_a_row_opens_to_its_cells_these_to_seeds_and_a_seed_to_its_file(page: Page, store: Store) -> None:
    page.click("button.opens")
    page.click("tr.kind-fold button.opens")
    assert page.evaluate(BUTTONS)[2:5] == ["seed 0", "seed 1", "seed 2"]
    page.click("tr.kind-leaf button.cell-link")
    page.wait("document.querySelectorAll('#cell table').length > 2")
    assert (
        page.evaluate("document.querySelector('#cell h2').textContent") == "CleanCLIP against BadNet after MMCL, seed 0"
    )
    text = page.evaluate("document.querySelector('#cell').textContent")
    low, high = (percent(bound) for bound in wilson(88, 1800))
    assert f"4.9 % (88 of 1800; 95 % interval {low} to {high})" in text
    assert "learning_rate = 0.00003" in text
    assert page.evaluate("document.querySelectorAll('#cell svg polyline').length") == 18
    key, rule = page.evaluate("new URLSearchParams(location.hash.slice(1)).get('cell')").split(":")
    assert rule == "default" and key in set(compile_suite(store, "demo").cells["cell"])
    page.evaluate("history.back()")
    page.wait("!document.querySelector('#cell').open")
    page.evaluate("history.forward()")
    page.wait("document.querySelector('#cell').open && document.querySelectorAll('#cell table').length > 2")
    page.press("Escape")
    page.wait("!document.querySelector('#cell').open")
    assert "cell=" not in page.evaluate("location.hash")


def test_two_rows_are_compared_by_a_paired_test_over_seeds(page: Page, store: Store) -> None:
    page.evaluate("document.querySelectorAll('[data-compare]')[0].click()")
    assert page.evaluate("document.querySelector('[data-of=compared]').textContent") == "choose a second one to compare"
    page.evaluate("document.querySelectorAll('[data-compare]')[1].click()")
    page.wait("document.querySelector('#compare').open")
    line = page.evaluate("[...document.querySelectorAll('#compare tbody tr')][0].innerText").split("\t")
    cells = compile_suite(store, "demo").cells
    first, second = (scored(cells, label) for label in ("cleanclip", "fine-tuning"))
    assert first and second
    test = stats.ttest_rel(first.by_seed, second.by_seed)
    low, high = test.confidence_interval()
    assert line[1:4] == [percent(first.score), percent(second.score), signed(first.score - second.score)]
    assert line[4] == f"{signed(low)} to {signed(high)}"
    assert line[5].startswith("p < 0.001" if test.pvalue < 0.001 else f"p = {test.pvalue:.3f}")
    page.open(page.evaluate("location.href"))
    page.wait("document.querySelector('#compare').open")
    assert page.evaluate("[...document.querySelectorAll('#compare tbody tr')][0].innerText").split("\t") == line


def test_the_statistics_are_those_of_scipy(page: Page) -> None:
    rng = np.random.default_rng(0)
    for number in (2, 3, 5, 10, 40):
        values = rng.normal(0.1, 0.2, number).tolist()
        found = page.evaluate(f"backstop.statistics.overSeeds({json.dumps(values)})")
        expected = stats.ttest_1samp(values, 0)
        low, high = expected.confidence_interval()
        np.testing.assert_allclose([found["low"], found["high"], found["p"]], [low, high, expected.pvalue], rtol=1e-8)
    for count, total in ((0, 5), (5, 5), (88, 1800)):
        np.testing.assert_allclose(page.evaluate(f"backstop.statistics.wilson({count}, {total})"), wilson(count, total))


def test_the_budget_changes_what_searches_had_found(page: Page) -> None:
    label = "document.querySelector('[data-of=budget]').textContent"
    assert page.evaluate(label) == "Budget: the first 9 of 9 trials"
    every = page.evaluate(column("area"))[0]
    page.type("[name=budget]", "0")
    assert page.evaluate(label) == "Budget: the first 1 of 9 trials"
    assert float(page.evaluate(column("area"))[0]) < float(every)
    assert page.evaluate("location.hash") == "#budget=1"


def test_views_fold_by_attack_and_by_objective(page: Page) -> None:
    page.type("[name=view]", "attack")
    assert page.evaluate(BUTTONS) == ["no attack (clean twin)", "BadNet", "Blended"]
    page.type("[name=view]", "objective")
    assert page.evaluate(BUTTONS) == ["MMCL", "MMCL+SSL"]
    assert page.evaluate(column("coverage")) == ["18 of 18", "18 of 18"]


def test_the_keyboard_alone_opens_folds_and_closes(page: Page) -> None:
    page.evaluate("document.querySelector('button.opens').focus()")
    page.press("ArrowRight")
    assert len(page.evaluate(BUTTONS)) > 4
    for _ in range(2):
        page.press("ArrowDown")
        page.press("ArrowRight")
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "seed 0"
    page.press("Enter")
    page.wait("document.querySelector('#cell').open")
    assert page.evaluate("document.querySelector('#cell').contains(document.activeElement)")
    page.press("Escape")
    page.wait("!document.querySelector('#cell').open")
    assert page.evaluate(focused) == "seed 0"
    for _ in range(2):
        page.press("ArrowUp")
    page.press("ArrowLeft")
    assert len(page.evaluate(BUTTONS)) == 4


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_no_window_is_too_narrow_and_the_method_stays_in_sight(page: Page, width: int) -> None:
    page.size(width, 844)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelector('#methods-table .scroll').scrollLeft = 400")
    left = page.evaluate(
        f"{ROWS}[0].querySelector('th').getBoundingClientRect().left"
        " - document.querySelector('#methods-table .scroll').getBoundingClientRect().left"
    )
    assert abs(left) < 2
    page.size(1400, 900)


def test_hostile_strings_are_text(browser: Page, tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET, f"wanet(x={fake_suite.HOSTILE})", RIGHT_TO_LEFT), (0, 1))
    crashed = fake_suite.find(cells, "mmcl", RIGHT_TO_LEFT, "fine-tuning", 1)
    rows = [fake_suite.record(crashed, "default", status="failed", reason=f'=HYPERLINK("x") {fake_suite.HOSTILE}')]
    store = fake_suite.make_store(tmp_path / "store", cells, {crashed["cell"]: rows})
    page_of(store, "demo", tmp_path / "board")
    browser.errors.clear()
    browser.requests.clear()
    base = (tmp_path / "board" / "index.html").as_uri()
    hostile = quote('"><script>alert(1)</script>')
    browser.open(f"{base}#view=row&text={hostile}&sort={hostile}&columns={hostile}&compare={hostile}")
    assert browser.evaluate("document.querySelectorAll('#methods-table tbody tr').length") == 0
    browser.open(f"{base}#view=row&status=failed")
    assert '=HYPERLINK("x") <script>' in browser.evaluate(f"{ROWS}[0].textContent")
    browser.click("button.cell-link")
    browser.wait("document.querySelectorAll('#cell table').length > 0")
    assert fake_suite.HOSTILE in browser.evaluate("document.querySelector('#cell').textContent")
    assert browser.evaluate("document.querySelectorAll('img, #methods-table script, #cell script').length") == 0
    assert browser.errors == []
    assert all(url.startswith((tmp_path.as_uri(), "about:blank")) for url in browser.requests)


def test_a_cell_that_is_not_there_says_so_and_names_no_other_file(browser: Page, address: str) -> None:
    browser.requests.clear()
    browser.open(f"{address}#cell=../../secret:oracle")
    browser.wait("document.querySelector('#cell').open")
    browser.wait("document.querySelector('#cell h2').textContent === 'This cell cannot be shown'")
    assert not [url for url in browser.requests if "secret.js" in url]


def test_an_injected_script_does_not_run(browser: Page, address: str, tmp_path: Path) -> None:
    folder = Path(address.removeprefix("file://")).parent
    text = (folder / "index.html").read_text(encoding="utf-8")
    bad = "<script>window.injected = 1</script><script src='x.js'></script><img src=x onerror='window.injected = 2'>"
    (tmp_path / "x.js").write_text("window.injected = 3")
    (tmp_path / "index.html").write_text(text.replace("<main>", f"<main>{bad}"), encoding="utf-8")
    browser.open((tmp_path / "index.html").as_uri())
    assert browser.evaluate("window.injected") is None
    assert browser.evaluate(f"{ROWS}.length") == 4


def test_the_index_finds_its_boards(browser: Page, address: str) -> None:
    browser.errors.clear()
    browser.open(address.replace("demo/index.html", "index.html"))
    assert browser.evaluate("document.querySelector('output').textContent") == "1 of 1 boards"
    browser.type("input[type=search]", "nothing of this")
    assert browser.evaluate("document.querySelector('output').textContent") == "0 of 1 boards"
    browser.click("tbody a")
    browser.wait("document.querySelector('#methods-table') !== null")
    assert browser.errors == []
