"""Runs a suite with a defense that is defined here: `python examples/run_my_defense.py [SUITE [STORE]]`.

`backstop run SUITE --plugin examples/run_my_defense.py --add repair=my-defense` is the same run, with the same keys.
"""

from __future__ import annotations

import sys
from typing import Annotated, ClassVar

from pydantic import Field

import benchmark as bm
from benchmark import Card, Range, Repair, Training
from benchmark.objectives import MMCL


class MyDefense(Repair):
    """Fine-tuning with the CLIP loss, at a learning rate that is searched where the suite searches."""

    name: ClassVar[str] = "my-defense"
    strength: ClassVar[str | None] = "learning_rate"
    card: ClassVar[Card] = Card(
        title="My defense",
        citation="",
        access="weights",
        needs=frozenset({"clean_pairs"}),
        summary="Fine-tuning on the clean pairs.",
    )

    learning_rate: Annotated[float, Field(gt=0), Range(1e-5, 1e-2, log=True)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 2

    def repair(self, model: bm.Model, ctx: bm.RepairContext) -> bm.Model:
        """Trains a copy of the model on the defender's clean pairs."""
        training = Training(epochs=self.epochs, learning_rate=self.learning_rate, batch_size=64, warmup_steps=2)
        return ctx.fit(model, ctx.clean_pairs, MMCL(), training)


def main(suite: str = "smoke", store: str = "store") -> None:
    """Runs what is missing, in this process, and prints what became of each model."""
    results = bm.run(suite, add=[MyDefense(epochs=1)], store=store, local=True)
    mine = results.cells.query("repair.str.startswith('my-defense')")
    print(mine[["objective", "attack", "status", "clean_accuracy", "attack_success_rate"]].to_string(index=False))


# Ray's workers run this file for the class above, thus the run itself stands below.
if __name__ == "__main__":
    main(*sys.argv[1:])
