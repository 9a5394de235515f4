"""`backstop board`: the pages of what a store holds."""

from __future__ import annotations

from pathlib import Path

from benchmark.cli.collecting import uncollected
from benchmark.errors import UserError
from benchmark.store.artifacts import Store


@uncollected()
def board(name: str | None, out: str | None, store: Store) -> None:
    """Writes the board of one suite, or of every suite in the store."""
    from reports.board import write_board
    from reports.site import write_index

    names = [name] if name else store.list_json("suites")
    if not names:
        raise UserError(f"store {store.root}: there must be a suite to show, got none; run one with `backstop run`")
    root = Path(out) if out else (store.local_root or Path()) / "board"
    several = len(names) > 1 or not out
    for each in names:
        folder = root / each if several else root
        print(f"board:   {write_board(store, each, folder, indexed=several).resolve()}   (open it in a browser)")
        print(f"figures: {(folder / 'figures').resolve()}")
        print(f"records: {(folder / 'records.csv').resolve()}, and in the store {store.root}")
    if several and (index := write_index(root)):
        print(f"index:   {index.resolve()}")
