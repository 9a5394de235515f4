"""The `poison` stage: an attack chooses rows and captions and draws its trigger; only a manifest is written.

`manifest.parquet` lists every poisoned row, `trigger.safetensors` holds what the trigger needs besides the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.errors import UserError, must, unknown
from benchmark.identity import derive_seed
from benchmark.pairs import CachedPool, PairBatch
from benchmark.poisoned import PoisonTable
from benchmark.streamed import StreamedPool
from benchmark.types import Attack, PoisonRows, TriggerState

TEMPLATES = ("held_out", "as_published")


@dataclass
class Context:
    """What an attack may use: see `types.PoisonContext`. `take` gives images where the pool is cached."""

    pool: CachedPool | StreamedPool
    num_rows: int
    class_names: Sequence[str]
    labels: np.ndarray | None  # (N,) int64 where the pool is labelled
    caption_templates: tuple[str, ...]
    evaluation_templates: tuple[str, ...]
    seed: int
    rng: np.random.Generator

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows."""
        return self.pool.captions(rows)

    def take(self, rows: np.ndarray) -> PairBatch:
        """Pairs by number, for triggers that are fitted on images."""
        if not isinstance(self.pool, CachedPool):
            raise must("data.streaming", "false for an attack that reads images by row", True, "cache the set")
        return self.pool.take(rows)

    def target_captions(self, target: str, count: int, *, templates: str) -> list[str]:
        """Captions that name the target class.

        Args:
            target: the class; it must be one of `class_names`, or part of exactly one of them.
            count: how many.
            templates: "held_out": the caption templates; "as_published": the evaluation prompts.

        Raises:
            UserError: unknown target, or held-out templates that evaluation uses too.
        """
        if templates not in TEMPLATES:
            raise must("templates", f"one of {', '.join(TEMPLATES)}", templates, "choose one of them")
        chosen = self.caption_templates if templates == "held_out" else self.evaluation_templates
        if templates == "held_out":
            self._check_disjoint()
        if not chosen:
            raise must(f"{templates} templates", "at least one", (), "give the data set templates with one '{}'")
        name = self.class_names[index] if (index := target_index(target, self.class_names)) is not None else target
        rng = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "poison captions")))
        return [chosen[pick].format(name) for pick in rng.integers(len(chosen), size=count)]

    def _check_disjoint(self) -> None:
        known = {template.casefold().strip() for template in self.evaluation_templates}
        shared = [template for template in self.caption_templates if template.casefold().strip() in known]
        if shared:
            raise must(
                "caption_templates of the data set",
                "disjoint from its evaluation_templates for templates=held_out",
                shared[0],
                "change one of the lists, or choose templates=as_published",
            )


def target_index(target: str, class_names: Sequence[str]) -> int | None:
    """Index of the target class: the name itself, else the one name that contains it as a word.

    Returns:
        None where there are no class names.

    Raises:
        UserError: no class name contains the target (with the closest), or several do.
    """
    if not class_names:
        return None
    folded = [name.casefold() for name in class_names]
    if target.casefold() in folded:
        return folded.index(target.casefold())
    word = re.compile(rf"(?<!\w){re.escape(target.casefold())}(?!\w)")
    hits = [place for place, name in enumerate(folded) if word.search(name)]
    if not hits:
        raise UserError(f"attack.target: {unknown('class', target, class_names)}")
    if len(hits) > 1:
        names = ", ".join(class_names[place] for place in hits[:5])
        raise must("attack.target", "part of one class name only", target, f"choose one of: {names}")
    return hits[0]


def poison(
    attack: Attack,
    pool: CachedPool | StreamedPool,
    *,
    class_names: Sequence[str],
    caption_templates: Sequence[str],
    evaluation_templates: Sequence[str],
    seed: int,
    folder: Path,
    image_size: int,
) -> dict[str, Any]:
    """Poisons a pool: writes `manifest.parquet` and `trigger.safetensors`.

    Args:
        attack: what chooses rows, captions and trigger.
        pool: the clean pre-training pairs.
        class_names: of the evaluation.
        caption_templates: for poisoned captions.
        evaluation_templates: prompts of the zero-shot head.
        seed: of the experiment.
        folder: where to write.
        image_size: pixels of the images' sides.

    Returns:
        Facts: num_poisoned, num_rows (of the poisoned pool), appended, target, target_index, templates.

    Raises:
        UserError: a target that nothing names, fewer rows than the poison count, overlapping templates.
    """
    index = target_index(attack.target, class_names)
    if index is None:
        _check_in_captions(attack.target, pool)
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "poison rows")))
    context = Context(
        pool=pool,
        num_rows=pool.num_rows,
        class_names=tuple(class_names),
        labels=pool.labels,
        caption_templates=tuple(caption_templates),
        evaluation_templates=tuple(evaluation_templates),
        seed=seed,
        rng=rng,
    )
    tensors = attack.fit(context, image_size=image_size, seed=derive_seed(seed, "trigger fit"))
    table = _table(_chosen(attack, context), pool)
    trigger = TriggerState(derive_seed(seed, "trigger"), tensors)
    _try_trigger(attack, trigger, image_size)
    _write(folder, table, trigger)
    return {
        "num_poisoned": len(table.rows),
        "num_rows": pool.num_rows + int(table.appended.sum()),
        "appended": bool(table.appended.any()),
        "target": class_names[index] if index is not None else attack.target,
        "target_index": index,
        "templates": attack.templates,
    }


def _try_trigger(attack: Attack, trigger: TriggerState, image_size: int) -> None:
    """Stamps one blank image, so that a trigger that does not fit is refused before anything is trained."""
    import torch

    try:
        attack.trigger(torch.zeros(1, 3, image_size, image_size), np.zeros(1, np.int64), trigger)
    except ValueError as error:
        raise UserError(f"attack {error}") from None


def _check_in_captions(target: str, pool: CachedPool | StreamedPool) -> None:
    """Without class names, some caption must name the target; a stream is not searched."""
    if isinstance(pool, CachedPool):
        word = re.compile(rf"(?<!\w){re.escape(target)}(?!\w)", re.IGNORECASE)
        if not any(word.search(caption) for caption in pool.captions(np.arange(pool.num_rows))):
            raise must("attack.target", "a word of some caption or class name", target, "choose a word the set uses")


def _chosen(attack: Attack, context: Context) -> PoisonRows:
    """The attack's rows, checked against the pool."""
    remedy = "lower attack.poison_rate, or use more pre-training pairs"
    try:
        chosen = attack.poison(context)
    except ValueError as error:
        if "larger sample" not in str(error):
            raise
        raise must("poison count", f"at most the pool's {context.num_rows} rows", "more", remedy) from error
    rows = np.asarray(chosen.source_rows, np.int64)
    if len(rows) != len(chosen.captions) or len(rows) != len(chosen.trigger_ids):
        raise ValueError(f"{attack.name}.poison must return as many captions and trigger ids as rows, got {len(rows)}")
    if not chosen.append and (len(rows) >= context.num_rows or len(np.unique(rows)) < len(rows)):
        rule = f"distinct rows, fewer than the pool's {context.num_rows}"
        raise must("poison count", rule, len(rows), remedy)
    if len(rows) and (rows.min() < 0 or rows.max() >= context.num_rows):
        raise ValueError(f"{attack.name}.poison must return rows 0 to {context.num_rows - 1}, got {rows.max()}")
    return chosen


def _table(chosen: PoisonRows, pool: CachedPool | StreamedPool) -> PoisonTable:
    sources = np.asarray(chosen.source_rows, np.int64)
    rows = pool.num_rows + np.arange(len(sources)) if chosen.append else sources
    order = np.argsort(rows, kind="stable")
    sources = sources[order]
    return PoisonTable(
        rows=rows[order],
        source_rows=sources,
        original_captions=pool.captions(sources) if len(sources) else [],
        captions=[str(chosen.captions[place]) for place in order],
        trigger_ids=np.asarray(chosen.trigger_ids, np.int64)[order],
        appended=np.full(len(sources), chosen.append),
    )


def _write(folder: Path, table: PoisonTable, trigger: TriggerState) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.torch import save_file

    columns = {
        "row": pa.array(table.rows, pa.int64()),
        "source_row": pa.array(table.source_rows, pa.int64()),
        "original_caption": pa.array(table.original_captions, pa.string()),
        "caption": pa.array(table.captions, pa.string()),
        "trigger_id": pa.array(table.trigger_ids, pa.int64()),
        "appended": pa.array(table.appended, pa.bool_()),
    }
    pq.write_table(pa.table(columns), folder / "manifest.parquet")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trigger.tensors.items()}
    save_file(tensors, folder / "trigger.safetensors", metadata={"seed": str(trigger.seed)})


class Poison(NamedTuple):
    """A poison artifact, read back."""

    table: PoisonTable
    trigger: TriggerState


def load_poison(folder: Path) -> Poison:
    """Reads a poison artifact."""
    import pyarrow.parquet as pq
    from safetensors import safe_open

    columns = pq.read_table(folder / "manifest.parquet")
    table = PoisonTable(
        rows=columns["row"].to_numpy(),
        source_rows=columns["source_row"].to_numpy(),
        original_captions=columns["original_caption"].to_pylist(),
        captions=columns["caption"].to_pylist(),
        trigger_ids=columns["trigger_id"].to_numpy(),
        appended=np.asarray(columns["appended"].to_pylist(), bool),
    )
    with safe_open(folder / "trigger.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        seed = int(file.metadata()["seed"])
    return Poison(table, TriggerState(seed, tensors))
