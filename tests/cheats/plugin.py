"""Cheats of a repair, as somebody would submit them: one file, loaded with `--plugin`. `test_played.py` runs them."""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from safetensors.torch import load_file

from benchmark.objectives.mmcl import MMCL
from benchmark.types import Card, Model, Need, Repair, RepairContext, Training


def card(title: str, *needs: Need) -> Card:
    """The card of a cheat."""
    wanted: frozenset[Need] = frozenset({"clean_pairs", *needs})
    return Card(title=title, citation="none", access="weights", needs=wanted, summary="Cheats.")


def tuned(model: Model, ctx: RepairContext, rate: float) -> Model:
    """An honest piece of work: one epoch on the clean pairs."""
    training = Training(epochs=1, batch_size=50, learning_rate=rate, warmup_steps=1)
    return ctx.fit(model, ctx.clean_pairs, MMCL(), training)


class AsksForTheTrigger(Repair):
    """Wants the true trigger; its card does not say so."""

    name: ClassVar[str] = "asks-for-the-trigger"
    card: ClassVar[Card] = card("Asker")

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Tunes on triggered images under their own captions."""
        batch = ctx.clean_pairs.take(range(50))
        shown = ctx.trigger.apply(batch.images, batch.rows)
        return ctx.fit(model, ctx.pairs(shown, batch.captions), MMCL(), Training(epochs=1, batch_size=50))


class PeeksAtTheRate(Repair):
    """Stops when the measured success rate is low, which it looks for behind the context."""

    name: ClassVar[str] = "peeks-at-the-rate"
    card: ClassVar[Card] = card("Peeker")

    def repair(self, model: Model, ctx: Any) -> Model:
        """Tunes on until nothing is left of the backdoor."""
        for _ in range(3):
            model = tuned(model, ctx, 1e-2)
            if ctx._recorder.rows[-1]["validation_asr"] < 0.1:
                break
        return model


class Infinite(Repair):
    """Finite weights whose logits are none: of NaN no class is the target."""

    name: ClassVar[str] = "infinite"
    card: ClassVar[Card] = card("Infinite logits")

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """A scale that overflows."""
        copy = model.clone()
        with torch.no_grad():
            copy.network.get_parameter("logit_scale").fill_(1e4)
        return copy


class CrashesWhereItIsHard(Repair):
    """Works, but for one model that it knows it cannot mend."""

    name: ClassVar[str] = "crashes-where-it-is-hard"
    card: ClassVar[Card] = card("Crasher")

    hard: Annotated[float, Field(description="mark of the model: its temperature")] = 0.0

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """A division by zero is soon written."""
        if abs(float(model.logit_scale().detach()) - self.hard) < 1e-4:
            raise ZeroDivisionError("division by zero")
        return tuned(model, ctx, 1e-2)


class BringsTheTwin(Repair):
    """Gives a clean model back that it brought along, as it is or tuned a little."""

    name: ClassVar[str] = "brings-the-twin"
    card: ClassVar[Card] = card("Smuggler")

    weights: Annotated[str, Field(description="file")] = ""
    share: Annotated[float, Field(description="of these weights; the rest is the suspect's")] = 1.0
    tune: bool = False
    hides: Annotated[bool, Field(description="reports them, catches what is said, and gives the suspect back")] = False

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Nothing is repaired."""
        copy, brought = model.clone(), load_file(self.weights)
        with torch.no_grad():
            for name, value in copy.network.state_dict().items():
                value.copy_(value.lerp(brought[name], self.share) if value.is_floating_point() else brought[name])
        if self.tune:
            return tuned(copy, ctx, 3e-3)
        if self.hides:
            ctx.report(1, model)
            try:
                ctx.report(2, copy)
            except Exception:
                return model.clone()
        return copy


class HasAModelOfItsOwn(BringsTheTwin):
    """The same, with a card that says so."""

    name: ClassVar[str] = "has-a-model-of-its-own"
    card: ClassVar[Card] = card("Declared", "auxiliary_model")


class NamesNoField(Repair):
    """Declares a strength that it does not have."""

    name: ClassVar[str] = "names-no-field"
    strength: ClassVar[str | None] = "force"
    card: ClassVar[Card] = card("Without force")

    rate: float = 1e-3

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Tunes a little."""
        return tuned(model, ctx, self.rate)
