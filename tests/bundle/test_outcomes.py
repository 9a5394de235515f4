"""Outcomes packed as small integers are the same when they are taken out again."""

from __future__ import annotations

import pytest

from benchmark.bundle.outcomes import narrow, widen
from tests.helpers.metrics import outcome_table


def _table(condition: str, ids: list[int], predicted: list[int], **more: list[int]):
    return outcome_table(
        condition, "zero_shot", id=ids, true_class=[row % 3 for row in ids], predicted=predicted, **more
    )


def test_equal_but_for_the_probability_and_by_rising_id():
    clean = _table("clean", [40, 7, 300], [1, 0, 2], target_rank=[5, 2, 700])
    shown = _table("tdpa", [7, 300], [2, -1], target_rank=[0, -1], target=[2, 1])
    found = widen(narrow({"a": clean, "b": shown}), {"a": "clean", "b": "tdpa"})
    for key, table in (("a", clean), ("b", shown)):
        wanted = table.sort_by("id").drop_columns("score")
        assert found[key].drop_columns("score").equals(wanted)
        assert found[key]["score"].null_count == table.num_rows
        assert found[key].schema.equals(table.schema)


def test_only_zero_shot_is_packed_and_in_as_few_bits_as_it_takes():
    probe = outcome_table("clean", "probe", id=[1], predicted=[9])
    packed = narrow({"a": _table("clean", [1, 2], [0, 1]), "b": probe})
    assert str(packed.schema.field("predicted_0").type) == "uint8"
    assert widen(packed, {"a": "clean", "b": "clean"})["b"].num_rows == 0


def test_images_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="image 3 has two classes"):
        narrow({"a": _table("clean", [3], [0]), "b": outcome_table("x", "zero_shot", id=[3], true_class=[2])})
    with pytest.raises(ValueError, match="twice"):
        narrow({"a": _table("clean", [3, 3], [0, 0])})
