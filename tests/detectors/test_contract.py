"""Detectors keep the contract of their kind."""

from __future__ import annotations

import pytest

from benchmark.detectors.bdetclip import BDetCLIP
from benchmark.detectors.clipscore import CLIPScore, CLIPScoreOutside
from benchmark.detectors.dao import DAO
from benchmark.detectors.decree import DECREE
from benchmark.detectors.slof import SLOF
from benchmark.detectors.strip import STRIP
from benchmark.testing.check import check_method
from benchmark.types import Detector

pytestmark = pytest.mark.unit
DETECTORS: tuple[type[Detector], ...] = (CLIPScore, CLIPScoreOutside, SLOF, DAO, STRIP, BDetCLIP, DECREE)


@pytest.mark.parametrize("cls", DETECTORS, ids=lambda cls: cls.name)
def test_detectors_keep_their_contract(cls: type[Detector]) -> None:
    results = check_method(cls)
    assert [result for result in results if not result.ok] == []
    assert any(result.name.startswith("ranks ") for result in results)
