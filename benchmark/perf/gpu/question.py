"""The question of the benchmark at a larger scale: is a model that was trained with MMCL+SSL harder to clean?

Both objectives, a fresh random BadNet, three seeds, and a sweep of CleanCLIP's learning rate in which every epoch is
validated, on photographs (`--data`) or 100,000 drawn pairs. Run again, it goes on from its store, of which
`backstop board` makes a board. An answer takes clean accuracies that match: the epochs of each objective are options.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import Gate, Grid, ModelSpec, Search, Splits, Suite
from benchmark.datasets.known import Cifar10
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.types import Dataset, Objective, Range, Training

DRAWN, HELD_OUT = 100_000, Splits(clean=2000, validation=1500, test=4000)
RATES = Range(1e-4, 1e-2, log=True)  # from hardly anything to ruin; a search proposes rates between them
EPOCHS = 20


def suite(data: Path | None, *, mmcl_epochs: int = EPOCHS, ssl_epochs: int = EPOCHS) -> Suite:
    """The suite on photographs of a folder in CIFAR-10's layout, or on drawn shapes."""
    rows = DRAWN + HELD_OUT.clean + HELD_OUT.validation + HELD_OUT.test
    source: Dataset = Cifar10(path=str(data), expected_rows={}) if data else Shapes(num_rows=rows)
    attack = BadNet(
        target="bird" if data else "ring",
        poison_rate=0.02,
        size=5,
        pattern="uniform",
        mode="fresh",
        location="random",
    )
    training = Training(batch_size=256, learning_rate=2e-3, warmup_steps=100, epochs=mmcl_epochs)
    own = _grid(MMCL(), attack, training)
    return Suite(
        name="question",
        title="MMCL and MMCL+SSL at a larger scale",
        data=source,
        splits=HELD_OUT,
        search=Search(trials=8, quasi_random=8, round_size=8),
        spaces={"cleanclip": {"learning_rate": RATES}},
        gate=Gate(min_asr=0.6, min_asr_on="net", max_accuracy_drop=0.06),
        seeds=(0, 1, 2),
        model=own.model,
        pretrain=own.pretrain,
        objectives=own.objectives,
        attacks=own.attacks,
        repairs=own.repairs,
        searched=own.searched,
        also=(_grid(MMCLSSL(), attack, training.model_copy(update={"epochs": ssl_epochs})),),
    )


def _grid(objective: Objective, attack: BadNet, training: Training) -> Grid:
    return Grid(
        model=ModelSpec(name="small-resnet"),
        pretrain=training,
        objectives=(objective,),
        attacks=(attack,),
        repairs=(CleanCLIP(epochs=10, batch_size=128, learning_rate=1e-3, warmup_steps=20),),
        searched=frozenset({"cleanclip"}),
    )


def miniature(whole: Suite) -> Suite:
    """The same grid on the smallest model, with a few hundred pairs, one epoch and one seed."""
    brief = {
        "model": ModelSpec(name="tiny-resnet"),
        "pretrain": Training(epochs=1, batch_size=64),
        "repairs": (CleanCLIP(epochs=2, batch_size=64, learning_rate=1e-3, warmup_steps=2),),
    }
    small = {
        "splits": Splits(pretrain=300, clean=150, validation=100, test=100),
        "search": Search(trials=2, quasi_random=2, round_size=2),
        "gate": Gate(min_asr=0.0, max_accuracy_drop=1.0),
        "seeds": (0,),
        "also": tuple(grid.model_copy(update=brief) for grid in whole.also),
    }
    data = whole.data.model_copy(update={"num_rows": 800}) if isinstance(whole.data, Shapes) else whole.data
    return whole.model_copy(update=brief | small | {"data": data})


def main(
    out: Annotated[Path, typer.Option(help="Folder for the suite and its store.")],
    data: Annotated[Path | None, typer.Option(help="Photographs in CIFAR-10's layout.")] = None,
    mmcl_epochs: Annotated[int, typer.Option(min=1, help="Of pre-training with MMCL.")] = EPOCHS,
    ssl_epochs: Annotated[int, typer.Option(min=1, help="Of pre-training with MMCL+SSL.")] = EPOCHS,
    tiny: Annotated[bool, typer.Option("--tiny", help="In miniature.")] = False,
) -> None:
    """Writes `suite.json` and becomes `backstop run` of it, in this process, without Ray."""
    found = suite(data, mmcl_epochs=mmcl_epochs, ssl_epochs=ssl_epochs)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "suite.json"
    file.write_text(json.dumps((miniature(found) if tiny else found).to_dict(), indent=1))
    command = ["-m", "benchmark.cli", "run", str(file), "--local", "--store", str(out / "store")]
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    typer.run(main)
