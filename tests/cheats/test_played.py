"""Cheats played as a user would submit them: a plugin in a run, on models that are poisoned once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors import safe_open

from benchmark.config.compute_options import ComputeOptions
from benchmark.engine import running
from benchmark.engine.running import Ran, Wanted
from benchmark.engine.suites import resolve
from benchmark.errors import UserError
from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store
from reports.compile import Results, compile_suite
from reports.grid import names_of
from reports.labels import percent
from reports.ranking import RankRow, rankings

pytestmark = pytest.mark.unit
PLUGIN = Path(__file__).parent / "plugin.py"
EASY, HARD = "badnet", "blended"
SETTINGS = (
    "splits.pretrain=1200",
    "splits.clean=100",
    "splits.validation=100",
    "splits.test=200",
    "data.num_rows=1700",
    "data.num_classes=4",
    *(f"data.{name}=0" for name in ("clutter", "noise", "occlusion", "vague_rate", "wrong_rate")),
    'objectives=["mmcl"]',
    'attacks=["badnet:target=circle,poison_rate=0.15,size=8,pattern=checkerboard",'
    '"blended:target=star,poison_rate=0.15,strength=0.25,pattern=stripes"]',
    'repairs=["fine-tuning:epochs=1,batch_size=50,learning_rate=1e-3,warmup_steps=1"]',
    "searched=[]",
    "spaces={}",
    "pretrain.epochs=6",
    "pretrain.batch_size=50",
    "pretrain.learning_rate=3e-3",
    "pretrain.warmup_steps=10",
    "gate.min_asr=0.9",
    "gate.min_asr_on=absolute",
    "gate.max_accuracy_drop=1.0",
    "readouts.probe=false",
)


class Played(NamedTuple):
    """A store in which cheats were played, and its board."""

    crashed: Ran  # against both attacks
    ran: Ran
    store: Store
    results: Results
    alone: Results  # the same board before any cheat was there

    def row(self, repair: str, attack: str = EASY) -> Any:
        """The row of a repair at its defaults, whose label begins so."""
        cells = self.results.cells
        hit = cells["repair"].str.startswith(repair) & cells["attack"].str.startswith(attack)
        (row,) = cells[hit & (cells["selection"] != "undefended")].itertuples(index=False)
        return row

    def runs(self) -> Iterator[Artifact]:
        """Every run of a repair that left an artifact."""
        found = (self.store.find("defend", key) for key in self.store.keys("defend"))
        return (artifact for artifact in found if artifact is not None)

    def rank(self, title: str) -> RankRow:
        """The row of a rank's table whose title begins so."""
        names = names_of(self.results.cells, cards=self.results.cards)
        found = [row for one in rankings(self.results.cells, names, self.results.cards) for row in one.rows]
        (row,) = {row for row in found if row.title.startswith(title)}
        return row


def run(store: Store, *additions: str, attack: str | None = None) -> Ran:
    """Runs the suite with cheats added to it, against one attack or both."""
    resolved = resolve("smoke", SETTINGS, [str(PLUGIN)], additions)
    only = {"attack": frozenset({attack})} if attack else {}
    return running.run(resolved, store, ComputeOptions(), Wanted(only=only, local=True, quiet=True))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    store = Store(tmp_path_factory.mktemp("played") / "store")
    run(store)
    alone = compile_suite(store, "smoke")
    cells = (store.read_json("suites/smoke.json") or {})["cells"]
    models = {cell["attack"].partition("(")[0]: dict(cell["nodes"])["pretrain"] for cell in cells}
    files = {}
    for name, key in models.items():
        artifact = store.find("pretrain", key)
        assert artifact is not None
        files[name] = artifact.path("model.safetensors")
    with safe_open(files[HARD], framework="pt") as weights:
        mark = float(weights.get_tensor("logit_scale").exp())
    crashing, twin = f"repair=crashes-where-it-is-hard:hard={mark!r}", f"weights={files['none']}"
    brings = "repair=brings-the-twin"
    added = (
        "repair=asks-for-the-trigger",
        "repair=peeks-at-the-rate",
        "repair=infinite",
        f"{brings}:{twin}",
        f"{brings}:{twin},tune=true",
        f"{brings}:{twin},share=0.3",
        f"{brings}:{twin},hides=true",
        f"repair=has-a-model-of-its-own:{twin}",
    )
    crashed = run(store, crashing)
    ran = run(store, crashing, *added, attack=EASY)
    return Played(crashed, ran, store, compile_suite(store, "smoke"), alone)


@pytest.mark.parametrize(
    ("cheat", "reason"),
    [
        ("asks-for-the-trigger", "CardError: Asker asked for 'trigger', which its card does not name"),
        ("peeks-at-the-rate", "AttributeError: Peeker asked for '_recorder', which no context has"),
    ],
)
def test_who_asks_for_the_trigger_or_its_rate_fails_with_one_line(played: Played, cheat: str, reason: str) -> None:
    found = played.row(cheat)
    assert found.status == "failed"
    assert found.reason.startswith(reason) and "\n" not in found.reason


def test_logits_that_are_no_numbers_are_no_cure(played: Played) -> None:
    found = played.row("infinite")
    assert (found.status, found.reason) == (
        "failed",
        "a model must give finite scores, got others for 100 of 100 images",
    )
    assert math.isnan(found.clean_accuracy) and math.isnan(found.attack_success_rate)
    assert played.rank("Infinite").net == played.rank("no repair").net
    assert played.rank("Infinite").coverage.startswith("0 of")


def test_a_crash_on_the_hard_attack_counts_as_no_repair_there(played: Played) -> None:
    easy, hard = played.row("crashes"), played.row("crashes", HARD)
    assert (easy.status, hard.status, hard.reason) == ("ok", "failed", "ZeroDivisionError: division by zero")
    cells = played.results.cells
    undefended = cells[(cells["selection"] == "undefended") & cells["attack"].str.startswith(HARD)]["judged_net_asr"]
    expected = (max(0.0, easy.judged_net_asr) + undefended.item()) / 2
    assert (played.rank("Crasher").net, played.rank("Crasher").coverage) == (percent(expected), "1 of 2")
    assert ("failed", hard.reason) in played.crashed.failures


@pytest.mark.parametrize(
    "how", ["brings-the-twin(weights", "brings-the-twin(tune", "brings-the-twin(share=0.3", "brings-the-twin(hides"]
)
def test_the_clean_twin_is_refused_as_it_is_tuned_mixed_or_hidden(played: Played, how: str) -> None:
    found = played.row(how)
    assert found.status == "refused"
    assert re.match(r"a repair must change the suspect model, got weights \d+ % of the way to its clean", found.reason)
    assert math.isnan(found.attack_success_rate)
    assert "refused" in played.ran.statuses and not any(status == "refused" for status, _ in played.ran.failures)


def test_no_epoch_of_a_refused_repair_is_kept(played: Played) -> None:
    refused = [found for found in played.runs() if found.facts["status"] == "refused"]
    assert len(refused) == 4
    for artifact in refused:
        assert artifact.facts["epochs"] == 0 and artifact.facts["way_to_twin"]["share"] > 0.29
        assert set(artifact.hashes) == {"epochs.parquet"}


def test_who_declares_a_clean_model_of_his_own_is_let_through_and_shown(played: Played) -> None:
    found = played.row("has-a-model-of-its-own")
    assert (found.status, found.reason) == ("ok", "weights 100 % of the way to its clean twin's (cosine 1.00)")
    cells, cards = played.results.cells, played.results.cards
    tables = rankings(cells, names_of(cells, cards=cards), cards)
    titles = [one.title for one in tables if any(row.title.startswith("Declared") for row in one.rows)]
    assert titles == ["with clean pairs and a clean model from outside"]  # a table of its own


def test_an_honest_repair_is_nowhere_near_the_twin_and_suffers_from_no_cheat(played: Played) -> None:
    ways = [found.facts["way_to_twin"] for found in played.runs() if found.facts["parameters"].get("learning_rate")]
    known = [way for way in ways if way is not None]
    assert len(known) == 2 and all(abs(way["share"]) < 0.1 and abs(way["cosine"]) < 0.1 for way in known)
    assert len(ways) == 3  # the clean twin itself was repaired too, and compared with nothing
    kept = ["attack", "repair", "status", "clean_accuracy", "attack_success_rate", "net_asr"]
    before, after = (
        found.cells[found.cells["repair"].str.startswith("fine-tuning")][kept].reset_index(drop=True)
        for found in (played.alone, played.results)
    )
    assert before.equals(after)


def test_a_strength_that_is_no_number_of_the_repair_is_refused_before_anything_runs(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    told = (
        r"^strength of repair names-no-field must be one of its number fields "
        r"\(num_clean_pairs, num_poisons_left, rate\) or None, got 'force'; mend its class$"
    )
    with pytest.raises(UserError, match=told):
        run(store, "repair=names-no-field")
    assert store.keys("data") == []
