"""The `poison` stage: an attack chooses rows and captions and draws its trigger; only a manifest is written.

`manifest.parquet` lists every poisoned row, `trigger.safetensors` holds what the trigger needs besides the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.contexts.poison import GatedPoisonContext
from benchmark.data.cached_pool import CachedPool
from benchmark.data.poisoned_pool import PoisonTable, apply_trigger
from benchmark.data.streamed_pool import StreamedPool
from benchmark.errors import UserError, must
from benchmark.store.keys import derive_seed
from benchmark.text import target_index, whole_word
from benchmark.types import Attack, BaseAttack, PoisonRows, TriggerState, Victims

CLEAN_IDS = 2_000_000_000  # apart from those of pre-training rows, so that a fresh trigger is not one of theirs


def poison(attack: BaseAttack, context: GatedPoisonContext, *, folder: Path, image_size: int) -> dict[str, Any]:
    """Poisons a pool: writes `manifest.parquet` and `trigger.safetensors`.

    Args:
        attack: what chooses rows, captions and trigger.
        context: the clean pre-training pairs, and what else the attack may use.
        folder: where to write.
        image_size: pixels of the images' sides.

    Returns:
        Facts: num_poisoned, num_rows (of the poisoned pool), appended, target, target_index.

    Raises:
        UserError: a target that nothing names, fewer rows than the poison count, overlapping templates.
    """
    pool, class_names, target = context.pool, context.class_names, attack.target_name
    index = None if target is None else target_index(target, class_names)
    if index is None and target is not None:
        _check_in_captions(target, pool)
    tensors = attack.fit(context, image_size=image_size, seed=derive_seed(context.seed, "trigger fit"))
    chosen = _choose(attack, context)
    table = _table(chosen, pool)
    trigger = TriggerState(derive_seed(context.seed, "trigger"), tensors)
    _try_trigger(attack, trigger, image_size)
    _write(folder, table, trigger, chosen.victims)
    return {
        "num_victims": len(chosen.victims.rows) if chosen.victims else 0,
        "num_poisoned": len(table.rows),
        "num_rows": pool.num_rows + int(table.appended.sum()),
        "appended": bool(table.appended.any()),
        "target": class_names[index] if index is not None else target,
        "target_index": index,
    }


def overlooked(attack: Attack, context: GatedPoisonContext, count: int) -> PoisonTable:
    """Poisoned pairs among those taken for clean: `count` rows of the context's pool, as the attack chooses them.

    Raises:
        NotApplicable: the attack finds no row for it.
    """
    few = attack.model_copy(update={"poison_rate": count / context.num_rows})
    table = _table(_choose(few, context), context.pool)
    ids = np.where(table.trigger_ids >= 0, table.trigger_ids + CLEAN_IDS, table.trigger_ids)
    return table._replace(trigger_ids=ids)


def _try_trigger(attack: BaseAttack, trigger: TriggerState, image_size: int) -> None:
    """Stamps two blank images twice, so that a trigger that does not fit is refused before anything is trained."""
    import torch

    blank, ids = torch.zeros(2, 3, image_size, image_size, dtype=torch.uint8), np.arange(2)
    try:
        first, second = (apply_trigger(attack, trigger, blank, ids) for _ in range(2))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"attack {error}") from None
    if not torch.equal(first, second):
        rule = "equal for equal images, ids and seed"
        raise must(f"attack {attack.name}.trigger", rule, "another image", "draw from ids and state.seed alone")


def _check_in_captions(target: str, pool: CachedPool | StreamedPool) -> None:
    """Without class names, some caption must name the target; a stream is not searched."""
    if isinstance(pool, CachedPool):
        word = whole_word(target)
        if not any(word.search(caption) for caption in pool.captions(np.arange(pool.num_rows))):
            raise must("attack.target", "a word of some caption or class name", target, "choose a word the set uses")


def _choose(attack: BaseAttack, context: GatedPoisonContext) -> PoisonRows:
    """The attack's rows, checked against the pool."""
    remedy = "lower attack.poison_rate, or use more pre-training pairs"
    try:
        chosen = attack.poison(context)
    except ValueError as error:
        if "larger sample" not in str(error):
            raise
        raise must("poison count", f"at most the pool's {context.num_rows} rows", "more", remedy) from error
    _check_form(attack, chosen)
    rows = np.asarray(chosen.source_rows, np.int64)
    if len(rows) != len(chosen.captions) or len(rows) != len(chosen.trigger_ids):
        raise ValueError(f"{attack.name}.poison must return as many captions and trigger ids as rows, got {len(rows)}")
    replaced = rows[~_is_appended(chosen)]
    if len(replaced) >= context.num_rows or len(np.unique(replaced)) < len(replaced):
        rule = f"distinct rows, fewer than the pool's {context.num_rows}"
        raise must("poison count", rule, len(replaced), remedy)
    if len(rows) and (rows.min() < 0 or rows.max() >= context.num_rows):
        wrong = rows.min() if rows.min() < 0 else rows.max()
        raise ValueError(f"{attack.name}.poison must return rows 0 to {context.num_rows - 1}, got {wrong}")
    for name, limit in (("rows", context.num_rows), ("targets", len(context.class_names))):
        found = np.asarray(getattr(chosen.victims, name, ()))
        if len(found) and not 0 <= found.min() <= found.max() < limit:
            raise ValueError(f"{attack.name}.poison must return victims' {name} 0 to {limit - 1}, got {found.max()}")
    return chosen


def _check_form(attack: BaseAttack, chosen: Any) -> None:
    """Refuses what numpy would cut to whole numbers, and what is no caption."""
    if not isinstance(chosen, PoisonRows):
        raise ValueError(f"{attack.name}.poison must return PoisonRows, got {type(chosen).__name__}")
    for name in ("source_rows", "trigger_ids"):
        kind = np.asarray(getattr(chosen, name)).dtype
        if len(getattr(chosen, name)) and not np.issubdtype(kind, np.integer):
            raise ValueError(f"{attack.name}.poison must return {name} as whole numbers, got {kind}")
    wrong = [caption for caption in chosen.captions if not isinstance(caption, str) or not caption.strip()]
    if wrong:
        raise ValueError(f"{attack.name}.poison must return a text as each caption, got {wrong[0]!r}")


def _is_appended(chosen: PoisonRows) -> np.ndarray:
    """(M,) bool."""
    return np.broadcast_to(np.asarray(chosen.append, bool), len(chosen.source_rows))


def _table(chosen: PoisonRows, pool: CachedPool | StreamedPool) -> PoisonTable:
    sources, appended = np.asarray(chosen.source_rows, np.int64), _is_appended(chosen)
    rows = np.where(appended, pool.num_rows + np.cumsum(appended) - 1, sources)
    order = np.argsort(rows, kind="stable")
    sources = sources[order]
    return PoisonTable(
        rows=rows[order],
        source_rows=sources,
        original_captions=pool.captions(sources) if len(sources) else [],
        captions=[str(chosen.captions[place]) for place in order],
        trigger_ids=np.asarray(chosen.trigger_ids, np.int64)[order],
        appended=appended[order],
    )


def _write(folder: Path, table: PoisonTable, trigger: TriggerState, victims: Victims | None) -> None:
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
    if victims is not None:
        named = {"row": pa.array(victims.rows, pa.int64()), "target": pa.array(victims.targets, pa.int64())}
        pq.write_table(pa.table(named), folder / "victims.parquet")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trigger.tensors.items()}
    save_file(tensors, folder / "trigger.safetensors", metadata={"seed": str(trigger.seed)})


class Poison(NamedTuple):
    """A poison artifact, read back."""

    table: PoisonTable
    trigger: TriggerState
    victims: Victims | None = None


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
    victims = None
    if (folder / "victims.parquet").exists():
        named = pq.read_table(folder / "victims.parquet")
        victims = Victims(*(np.array(named[name].to_numpy()) for name in ("row", "target")))
    return Poison(table, TriggerState(seed, tensors), victims)
