"""Tries a repair on one poisoned model of a suite that was run: `python examples/try_a_repair.py [SUITE [STORE]]`."""

from __future__ import annotations

import sys

import benchmark as bm
from benchmark.repairs import CleanCLIP


def main(suite: str = "smoke", store: str = "store") -> None:
    """Prints three numbers of a poisoned model, then of what CleanCLIP makes of it in one epoch and in three."""
    cell = bm.open_cell(suite, objective="mmcl", attack="badnet", seed=0, store=store)
    tell(cell, "as it is", cell.model())
    for epochs in (1, 3):
        tell(cell, f"CleanCLIP(epochs={epochs})", cell.repair(CleanCLIP(epochs=epochs, batch_size=64)))


def tell(cell: bm.OpenCell, what: str, model: bm.Model) -> None:
    """Prints the headline of one model."""
    found = cell.evaluate(model).query("readout == 'zero_shot'").set_index("name")["value"]
    print(f"{what:20} {found[['clean_accuracy', 'attack_success_rate', 'net_asr']].round(3).to_dict()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
