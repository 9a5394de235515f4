"""`backstop store`: what lies in a store, whether it is whole, what nobody needs, and copies from others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.bundle.pack import pack
from benchmark.engine.pull import pull as pull_all
from benchmark.engine.suites import stored_name
from benchmark.output import print_json
from benchmark.store.artifacts import Store
from benchmark.store.damages import Damage, damages
from benchmark.store.format import require_store
from benchmark.store.survey import Garbage, garbage, remove, sizes


def ls(store: Store, *, as_json: bool) -> None:
    """Prints what a store has of each stage."""
    require_store(store.own.root)
    found = sizes(store)
    if as_json:
        print_json([item._asdict() for item in found])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", style="bold")
    for head in ("artifacts", "unfinished", "spare attempts", "size"):
        table.add_column(head, justify="right")
    for item in found:
        table.add_row(item.stage, *map(str, item[1:4]), _bytes(item.size))
    console = Console(highlight=False)
    console.print(table)
    whole = f"{sum(item.artifacts for item in found)} artifacts, {_bytes(sum(item.size for item in found))}"
    console.print(f"\nstore {store.root}: {whole}", soft_wrap=True)


def verify(store: Store, *, drop: bool, as_json: bool) -> int:
    """Reads every artifact's files and prints which are damaged; 0 where none is, else 1."""
    require_store(store.own.root)
    looked, found = 0, list[Damage]()
    for _, _, damage in damages(store, drop=drop):
        looked += 1
        if damage:
            found.append(damage)
            if not as_json:
                print(f"{damage.stage}/{damage.key}: {damage.what}")
    if as_json:
        print_json({"artifacts": looked, "dropped": drop, "damaged": [item._asdict() for item in found]})
    else:
        then = "they are made again by the next run" if drop else "have them made again with --drop"
        print(f"{looked} artifacts: {f'{len(found)} damaged; {then}' if found else 'all are as they were written'}")
    return 1 if found else 0


def gc(store: Store, *, hours: float, logs: bool, trials: bool, dry_run: bool, as_json: bool) -> None:
    """Removes what nobody needs; says what, and how much."""
    require_store(store.own.root)
    if not dry_run:
        store.require_writable()
    found = garbage(store, older_than_s=hours * 3600, logs=logs, trials=trials)
    if not dry_run:
        remove(store, found)
    if as_json:
        print_json({"dry_run": dry_run, "size": _size(found), "removed": [item._asdict() for item in found]})
        return
    for item in found:
        print(f"{item.kind:10}  {_bytes(item.size):>9}  {item.name}")
    does = "would be removed" if dry_run else "removed"
    print(f"{len(found)} things, {_bytes(_size(found))}, {does} from store {store.root}")


def pull(store: Store, name: str, stages: Sequence[str], *, as_json: bool) -> None:
    """Copies a suite, or one artifact, from the stores behind."""
    found = list(pull_all(store, stored_name(name), stages))
    copied = [item for item in found if item.size]
    size = sum(item.size for item in copied)
    if as_json:
        print_json({"found": len(found), "size": size, "copied": [item._asdict() for item in copied]})
    else:
        told = f"{len(copied)} of {len(found)} artifacts copied ({_bytes(size)})"
        print(f"{told} to store {store.root}; the rest were there")


def publish(store: Store, name: str, out: str, weights_of: Sequence[int], *, as_json: bool) -> None:
    """Packs the finished seeds of a suite."""
    made = pack(store, name, Path(out), weights_of=weights_of)
    if as_json:
        print_json(made._asdict())
        return
    print(f"{name}: seeds {', '.join(map(str, made.written))} written to {out}, {_bytes(made.size)}")
    for seed, cells in made.unfinished.items():
        print(f"seed {seed} was left as it is there: {cells} cells have no final record")


def _size(items: Sequence[Garbage]) -> int:
    return sum(item.size for item in items)


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
