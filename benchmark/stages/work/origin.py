"""Whose weights a repair gives back: those of the suspect model, changed, or those of its clean twin.

The twin is the suspect without its backdoor: from the same start, on the same pairs in the same order. A repair that
gave it back would lead every board, and would have repaired nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from benchmark.errors import Refused
from benchmark.models.clip import ClipModel
from benchmark.stages.cells import Cell
from benchmark.stages.work.weights import weights_folder
from benchmark.store.artifacts import Store
from benchmark.types import ModelAttack, Repair

# Repairs without a clean model stayed at cosines below 0.15, whatever their shares: docs/cheats.md has the numbers.
TENTH = 0.1  # share of the way: at half of it, where the twin begins to be nearer, most of a backdoor is gone
MEANT = 0.25  # cosine: the way was taken, not met by a model that ran far in some direction


class Way(NamedTuple):
    """How weights lie between the suspect's and the twin's, of the part that only the twin could give."""

    share: float  # of the way: 0 is the suspect, 1 the twin
    cosine: float  # of the change and the way: 1 is straight on it

    @property
    def leads_to_twin(self) -> bool:
        """Whether they are the twin's, were made from them, or were mixed with them."""
        return self.share > TENTH and self.cosine > MEANT


def way_to_twin(model: ClipModel, suspect: ClipModel, twin: Mapping[str, torch.Tensor]) -> Way | None:
    """How far weights went from the suspect's to the twin's; None where these are the same.

    Of each tensor only what is orthogonal to the suspect's own counts. So a suspect that is shrunk stays at 0, where
    plain distances find a model that is shrunk to nothing, or that comes from another start, as near to the twin as to
    the suspect. Of weights w and twin t, with those parts w' and t': the share is <w', t'> / <t', t'>.

    Args:
        model: what a repair made of the suspect; tensors that it added are left out, and so are buffers.
        suspect: the model that the repair was given.
        twin: weights of the clean twin by name.
    """
    made = dict(model.network.named_parameters())
    both = to_twin = changed = 0.0
    for name, start in suspect.network.named_parameters():
        if name not in made or not start.is_floating_point():
            continue
        s, t, w = (part.detach().to(start.device).flatten().double() for part in (start, twin[name], made[name]))
        length = float(s @ s)
        t, w = (part - (float(part @ s) / length if length else 0.0) * s for part in (t, w))
        both, to_twin, changed = both + float(w @ t), to_twin + float(t @ t), changed + float(w @ w)
    if not to_twin:
        return None
    return Way(both / to_twin, both / (to_twin * changed) ** 0.5 if changed else 0.0)


class TwinWatch:
    """Looks at each model that a repair has measured, before it is."""

    def __init__(self, suspect: ClipModel, twin: Mapping[str, torch.Tensor], *, refuses: bool) -> None:
        self._suspect, self._twin, self._refuses = suspect, twin, refuses
        self.furthest: Way | None = None  # so far

    def __call__(self, model: ClipModel) -> None:
        """Looks at one.

        Raises:
            Refused: its weights lead to the twin's.
        """
        way = way_to_twin(model, self._suspect, self._twin)
        if way is None or not math.isfinite(way.share):  # of a model that is no number the read-outs tell
            return
        self.furthest = max(self.furthest or way, way, key=lambda one: (one.leads_to_twin, one.share))
        if way.leads_to_twin and self._refuses:
            raise Refused(
                f"a repair must change the suspect model, got {_told(way)}; start from the model that is given"
            )

    @property
    def note(self) -> str:
        """What is to be told of a repair that may come near the twin, and did."""
        return _told(self.furthest) if self.furthest and self.furthest.leads_to_twin else ""


def _told(way: Way) -> str:
    return f"weights {100 * way.share:.0f} % of the way to its clean twin's (cosine {way.cosine:.2f})"


def twin_watch(store: Store, cell: Cell, repair: Repair, suspect: ClipModel) -> TwinWatch | None:
    """What looks at a repair's models; None where the suspect is the twin itself, or the twin is not in the store.

    A repair whose card names a clean model from outside may come near the twin, and is told of. So may every repair of
    a model that an attack on weights made of the twin: to undo that is to come back to it.
    """
    keys = cell.keys
    if keys.pretrain == keys.twin or not store.has("pretrain", keys.twin):
        return None
    may = "auxiliary_model" in repair.needs or isinstance(cell.experiment.attack, ModelAttack)
    twin = load_file(weights_folder(store, keys.twin) / "model.safetensors")
    return TwinWatch(suspect, twin, refuses=not may)
