"""Cards: entries to cite are BibTeX and agree with the citation; a variant asks for no more than it uses."""

from __future__ import annotations

import re

import bibtexparser
import pytest

from benchmark.config import registry
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.heavy_weight_decay import HeavyWeightDecay
from benchmark.repairs.shrink_and_perturb import ShrinkAndPerturb
from benchmark.types import Card

pytestmark = pytest.mark.unit
CITED = ("attack", "objective", "repair", "detector", "dataset")
CARDS = {f"{kind} {name}": registry.method(kind, name).card for kind in CITED for name in registry.names(kind)}
ARXIV = re.compile(r"\d{4}\.\d{4,5}")


@pytest.mark.parametrize("card", CARDS.values(), ids=list(CARDS))
def test_every_method_can_be_cited(card: Card) -> None:
    library = bibtexparser.parse_string(card.bibtex)
    assert library.entries and not library.failed_blocks
    for entry in library.entries:
        fields = entry.fields_dict
        assert {"title", "author"} <= set(fields), entry.key
        assert "year" in fields or entry.entry_type == "misc"
        if "eprint" in fields:
            assert ARXIV.fullmatch(fields["eprint"].value) and fields["archiveprefix"].value == "arXiv"
    cited = set(ARXIV.findall(card.citation))
    assert cited <= {entry.fields_dict["eprint"].value for entry in library.entries if "eprint" in entry.fields_dict}


def test_one_key_is_one_source() -> None:
    sources: dict[str, str] = {}
    for card in CARDS.values():
        for entry in bibtexparser.parse_string(card.bibtex).entries:
            assert sources.setdefault(entry.key, entry.fields_dict["title"].value) == entry.fields_dict["title"].value


@pytest.mark.parametrize("cls", [CleanCLIP, HeavyWeightDecay, ShrinkAndPerturb])
def test_only_as_released_asks_for_the_optimizer_state(cls: type[CleanCLIP]) -> None:
    assert cls().needs == cls().own_card.needs == {"clean_pairs"}
    assert cls(variant="as_released").needs == {"clean_pairs", "optimizer_state"} == cls.card.needs


def test_titles_stand_apart_within_a_kind() -> None:
    for kind in CITED:
        titles = [registry.method(kind, name).card.title for name in registry.names(kind)]
        assert len(set(titles)) == len(titles)


def test_what_is_said_to_differ_from_what_is_published_does() -> None:
    for kind in CITED:
        for name in registry.names(kind):
            cls = registry.method(kind, name)
            fields = [item.field for item in cls.card.differs]
            assert len(set(fields)) == len(fields), name
            for item in cls.card.differs:
                assert item.field in cls.model_fields, (name, item.field)
                assert cls.model_fields[item.field].get_default(call_default_factory=True) != item.value, (name, item)


def test_a_value_that_is_set_as_published_differs_no_more() -> None:
    assert [str(item) for item in CleanCLIP().own_card.differs] == ["variant as_released (the released code)"]
    assert CleanCLIP(variant="as_released").own_card.differs == ()
