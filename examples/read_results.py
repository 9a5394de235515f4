"""Reads the results of a suite that was run: `python examples/read_results.py [SUITE [STORE]]`. Loads no torch."""

from __future__ import annotations

import sys

import benchmark as bm


def main(suite: str = "smoke", store: str = "store") -> None:
    """Prints what each repair leaves of an attack, at its defaults, as means over objectives and seeds."""
    results = bm.load_results(store, suite)
    print(results.cells["status"].value_counts().to_string(), end="\n\n")

    shown = results.cells.query("attack != 'none' and selection in ('undefended', 'default')")
    columns = ["clean_accuracy", "attack_success_rate", "net_asr"]
    print(shown.groupby(["attack", "repair"], sort=False)[columns].mean().round(3).to_string(), end="\n\n")

    # every number of every read-out, with its denominator: `row` leads back to the cell
    neighbours = results.measures.query("readout == 'knn' and name == 'clean_accuracy'")
    table = results.cells.merge(neighbours, on="row")[["objective", "attack", "repair", "value", "total"]]
    print(table.to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
