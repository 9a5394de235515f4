"""The poison stage: manifest, trigger state, targets, templates, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from benchmark.contexts.poison import GatedPoisonContext
from benchmark.data.pools import CachedPool, PoisonedPool, StreamedPool
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.errors import UserError
from benchmark.stages.work.poison import load_poison, poison
from benchmark.store.keys import derive_seed
from benchmark.text import target_index
from benchmark.types import Attack, PoisonContext, PoisonRows, Victims

NAMES = ("cat", "hot dog", "polar bear", "brown bear", "apple")
CAPTIONS = ("here is a {}", "one {}", "some {} or other")
PROMPTS = ("a photo of a {}", "the {}")


def pool(num_rows: int = 200) -> CachedPool:
    images = np.random.default_rng(0).integers(0, 256, (num_rows, 4, 4, 3), dtype=np.uint8)
    return CachedPool(images, [f"caption {row}" for row in range(num_rows)], np.arange(num_rows) % 5)


def run(attack: Attack, folder: Path, clean: Any = None, **changes: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    options: dict[str, Any] = {
        "class_names": NAMES,
        "caption_templates": CAPTIONS,
        "evaluation_templates": PROMPTS,
        "seed": 7,
    }
    return poison(attack, GatedPoisonContext(clean or pool(), **(options | changes)), folder=folder, image_size=4)


class Learnt(Attack):
    """Appends label-consistent rows and brings a fitted tensor."""

    name: ClassVar[str] = "learnt"

    def fit(self, ctx: Any, *, image_size: int, seed: int) -> dict[str, torch.Tensor]:
        mean = ctx.images(np.arange(3)).float().mean()
        return {"patch": torch.full((image_size,), float(mean)).reshape(2, -1).T}

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        assert ctx.labels is not None
        rows = np.flatnonzero(ctx.labels == 0)[:6][::-1]
        return PoisonRows(rows, ctx.captions(rows), rows * 2, append=True)


def test_manifest_lists_what_the_poisoned_pool_shows(tmp_path: Path) -> None:
    facts = run(Attack(target="cat", poison_rate=0.05), tmp_path)
    assert facts == {
        "num_victims": 0,
        "num_poisoned": 10,
        "num_rows": 200,
        "appended": False,
        "target": "cat",
        "target_index": 0,
    }
    table, trigger, _ = load_poison(tmp_path)
    assert trigger.seed == derive_seed(7, "trigger")
    assert dict(trigger.tensors) == {}
    assert sorted(set(table.rows.tolist())) == table.rows.tolist()
    assert table.original_captions == [f"caption {row}" for row in table.rows]
    assert set(table.captions) <= {template.format("cat") for template in CAPTIONS}
    assert len(set(table.captions)) > 1
    assert np.array_equal(table.trigger_ids, table.rows)
    shown = PoisonedPool(pool(), table, Attack(target="cat"), trigger)
    changed = [row for row in range(200) if shown.captions(np.array([row])) != [f"caption {row}"]]
    assert changed == table.rows.tolist()
    columns = ["row", "source_row", "original_caption", "caption", "trigger_id", "appended"]
    assert pq.read_table(tmp_path / "manifest.parquet").column_names == columns


def test_same_seed_same_bytes_other_seed_other_rows(tmp_path: Path) -> None:
    attack = Attack(target="apple", poison_rate=0.1)
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run(attack, tmp_path / name, seed=seed)
    read = {name: (tmp_path / name / "manifest.parquet").read_bytes() for name in "abc"}
    assert read["a"] == read["b"]
    assert read["a"] != read["c"]
    assert (tmp_path / "a" / "trigger.safetensors").read_bytes() == (
        tmp_path / "b" / "trigger.safetensors"
    ).read_bytes()


def test_published_templates_are_the_evaluation_prompts(tmp_path: Path) -> None:
    run(Attack(target="hot dog", templates="as_published", poison_rate=0.1), tmp_path)
    table = load_poison(tmp_path).table
    assert set(table.captions) == {"a photo of a hot dog", "the hot dog"}


def test_appended_rows_and_fitted_tensors_come_back(tmp_path: Path) -> None:
    facts = run(Learnt(target="cat"), tmp_path)
    assert (facts["num_rows"], facts["appended"]) == (206, True)
    table, trigger, _ = load_poison(tmp_path)
    assert table.rows.tolist() == list(range(200, 206))
    assert table.source_rows.tolist() == [25, 20, 15, 10, 5, 0]
    assert table.captions == table.original_captions == [f"caption {row}" for row in table.source_rows]
    assert table.trigger_ids.tolist() == [50, 40, 30, 20, 10, 0]
    assert trigger.tensors["patch"].shape == (2, 2)
    assert float(trigger.tensors["patch"].mean()) == pytest.approx(
        pool().take(np.arange(3)).images.float().mean().item()
    )


def test_stream_can_be_poisoned(tmp_path: Path) -> None:
    stream = StreamedPool(Shapes(num_rows=90), 8, np.arange(10), 80)
    run(Attack(target="cat", poison_rate=0.05), tmp_path, stream)
    table = load_poison(tmp_path).table
    drawn = Shapes(num_rows=90).open(image_size=8).read(np.arange(10, 90))
    assert table.original_captions == [drawn.captions[row] for row in table.rows]
    with pytest.raises(UserError, match="streaming must be false"):
        run(Learnt(target="cat"), tmp_path, stream)


def test_target_is_found_by_name_or_by_word() -> None:
    assert target_index("Cat", NAMES) == 0
    assert target_index("dog", NAMES) == 1
    assert target_index("dog", ()) is None
    with pytest.raises(UserError, match="unknown class 'appel'; did you mean apple"):
        target_index("appel", NAMES)
    with pytest.raises(UserError, match="one class name only, got 'bear'; choose one of: polar bear, brown bear"):
        target_index("bear", NAMES)
    with pytest.raises(UserError, match="unknown class 'ca'"):
        target_index("ca", NAMES)  # part of a word is no match


def test_without_class_names_some_caption_must_hold_the_target(tmp_path: Path) -> None:
    facts = run(Attack(target="caption"), tmp_path, class_names=())
    assert facts["target_index"] is None
    with pytest.raises(UserError, match=r"attack.target must be a word of some caption"):
        run(Attack(target="banana"), tmp_path, class_names=())


def test_held_out_captions_refuse_evaluation_prompts(tmp_path: Path) -> None:
    shared = (*CAPTIONS, "The {} ")
    with pytest.raises(UserError, match="disjoint from its evaluation_templates"):
        run(Attack(target="cat"), tmp_path, caption_templates=shared)
    run(Attack(target="cat", templates="as_published"), tmp_path, caption_templates=shared)


class Greedy(Attack):
    """Asks for more rows than there are."""

    num_wanted: int = 1000

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        rows = ctx.rng.choice(ctx.num_rows, size=self.num_wanted, replace=False)
        return PoisonRows(rows, ["x"] * len(rows), rows)


def test_more_poison_than_rows_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="poison count must be at most the pool's 200 rows") as caught:
        run(Greedy(target="cat"), tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="fewer than the pool's 200, got 200"):
        run(Greedy(target="cat", num_wanted=200), tmp_path)
    assert not list(tmp_path.iterdir())


def test_context_draws_are_seeded(tmp_path: Path) -> None:
    def context(seed: int) -> GatedPoisonContext:
        return GatedPoisonContext(pool(), NAMES, CAPTIONS, PROMPTS, seed)

    first = context(1).target_captions("cat", 30, templates="held_out")
    assert first == context(1).target_captions("cat", 30, templates="held_out")
    assert first != context(2).target_captions("cat", 30, templates="held_out")
    with pytest.raises(UserError, match="templates must be one of held_out, as_published"):
        context(1).target_captions("cat", 1, templates="heldout")


# --- attacks that break their contract: numpy and torch would fill, cut and repeat without a word ------------------


class Given(Attack):
    """Gives what a test says, for the trigger and for the rows."""

    name: ClassVar[str] = "given"

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: Any) -> Any:
        return TRIGGERS[self.target](images)

    def poison(self, ctx: PoisonContext) -> Any:
        return ROWS.get(self.target, lambda found: found)(super().poison(ctx))


TRIGGERS: dict[str, Any] = {
    "cat": lambda images: images[:1],
    "hot dog": lambda images: images * float("nan"),
    "polar bear": lambda images: (images * 255).to(torch.uint8),
    "brown bear": lambda images: images + torch.rand(1),
    "apple": lambda images: images.numpy(),
}
ROWS: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("cat", "given.trigger must give images (2, 3, 4, 4) float32, got (1, 3, 4, 4) torch.float32"),
        ("hot dog", "given.trigger must give finite pixels, got NaN or infinite ones"),
        ("polar bear", "given.trigger must give images (2, 3, 4, 4) float32, got (2, 3, 4, 4) torch.uint8"),
        ("brown bear", "given.trigger must be equal for equal images, ids and seed"),
        ("apple", "given.trigger must give images (2, 3, 4, 4) float32, got ndarray"),
    ],
)
def test_a_trigger_that_breaks_its_contract_is_refused_before_training(
    target: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run(Given(target=target), tmp_path)
    assert str(caught.value).startswith(f"attack {reason}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: None, "must return PoisonRows, got NoneType"),
        (
            lambda found: found._replace(source_rows=found.source_rows + 0.7),
            "source_rows as whole numbers, got float64",
        ),
        (lambda found: found._replace(source_rows=np.arange(len(found.captions)) > 0), "whole numbers, got bool"),
        (lambda found: found._replace(source_rows=-1 - found.source_rows), "rows 0 to 199, got -"),
        (lambda found: found._replace(captions=[None] * len(found.captions)), "a text as each caption, got None"),
        (lambda found: found._replace(captions=[" "] * len(found.captions)), "a text as each caption, got ' '"),
        (lambda found: found._replace(victims=Victims(np.array([3]), np.array([5]))), "targets 0 to 4, got 5"),
    ],
)
def test_rows_that_break_the_contract_are_refused(
    change: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRIGGERS, "cat", lambda images: images)
    monkeypatch.setitem(ROWS, "cat", change)
    with pytest.raises(ValueError, match=r"given\.poison must return .*") as caught:
        run(Given(target="cat", poison_rate=0.05), tmp_path)
    assert reason in str(caught.value)


def test_an_attack_cannot_write_into_the_labels_of_the_pool() -> None:
    clean = pool()
    context = GatedPoisonContext(clean, NAMES, CAPTIONS, PROMPTS, seed=7)
    assert context.labels is not None
    context.labels[:] = 3
    assert np.array_equal(context.labels, np.arange(200) % 5)
