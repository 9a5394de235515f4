"""Names to methods, built from text; a wrong name suggests the closest."""

from __future__ import annotations

import pytest

from benchmark.attacks.badnet import BadNet
from benchmark.config.registry import from_text
from benchmark.errors import UnknownNameError, UserError

pytestmark = pytest.mark.unit


def test_unknown_names_suggest_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="unknown attack 'badnets'; did you mean badnet"):
        from_text("attack", "badnets:target=ring")
    with pytest.raises(UserError, match="badnet: unknown field 'sise'; did you mean size"):
        from_text("attack", "badnet:target=ring,sise=4")


def test_a_method_is_built_from_what_was_typed() -> None:
    built = from_text("attack", 'badnet:target="ring, red",templates=as_published,size=4', option="--add attack=")
    assert built == BadNet(target="ring, red", templates="as_published", size=4)
