"""Base classes of the kinds, and the words, shapes and protocols that all of them share.

Shape legend: B samples of a micro-batch, G samples of the global batch, N rows of a pool, C classes, D embedding
size, H and W pixels. Images that are stored are uint8 (B, 3, H, W); images that a method sees are float32 in [0, 1].

A method is a frozen pydantic model: its fields are its hyper-parameters. Its functions are pure in (fields, inputs,
generator); what is learnt is returned as tensors. What it needs of the engine is handed to it in a context.
"""

from benchmark.types.attacks import Attack, PoisonContext, PoisonRows, TriggerState
from benchmark.types.base import (
    Access,
    Card,
    Choices,
    Count,
    Frozen,
    Method,
    Need,
    Positive,
    Range,
    Rate,
    State,
    Transform,
)
from benchmark.types.data import Dataset
from benchmark.types.metrics import Metric
from benchmark.types.repairs import Repair, RepairContext
from benchmark.types.training import Features, Loss, Objective, ObjectiveContext, Pass, Training, View

__all__ = [
    "Access",
    "Attack",
    "Card",
    "Choices",
    "Count",
    "Dataset",
    "Features",
    "Frozen",
    "Loss",
    "Method",
    "Metric",
    "Need",
    "Objective",
    "ObjectiveContext",
    "Pass",
    "PoisonContext",
    "PoisonRows",
    "Positive",
    "Range",
    "Rate",
    "Repair",
    "RepairContext",
    "State",
    "Training",
    "Transform",
    "TriggerState",
    "View",
]
