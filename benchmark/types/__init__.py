"""Base classes of the kinds, and the words, shapes and protocols that all of them share.

Shape legend: B samples of a micro-batch, G samples of the global batch, N rows of a pool, C classes, D embedding
size, H and W pixels. Images that are stored are uint8 (B, 3, H, W); images that a method sees are float32 in [0, 1].

A method is a frozen pydantic model: its fields are its hyper-parameters. Its functions are pure in (fields, inputs,
generator); what is learnt is returned as tensors. What it needs of the engine is handed to it in a context.
"""

from benchmark.types.attacks import Attack, BaseAttack, ModelAttack, PoisonContext, PoisonRows, TriggerState, Victims
from benchmark.types.base import (
    Access,
    Card,
    Choices,
    Count,
    Frozen,
    Method,
    Need,
    Positive,
    Published,
    Range,
    Rate,
    State,
    Transform,
)
from benchmark.types.contexts import DefenderContext, PairFeatures, RepairContext, Segmenter, Trigger
from benchmark.types.data import Dataset
from benchmark.types.detectors import Detector, Filter, Finding, InputDetector, ModelDetector
from benchmark.types.metrics import Measure, Metric, proportion
from benchmark.types.models import Model
from benchmark.types.pools import PairBatch, Pool
from benchmark.types.repairs import Repair
from benchmark.types.training import (
    Augmentation,
    Features,
    Loss,
    Objective,
    Pass,
    Plan,
    PlanContext,
    Training,
    View,
)

__all__ = [
    "Access",
    "Attack",
    "Augmentation",
    "BaseAttack",
    "Card",
    "Choices",
    "Count",
    "Dataset",
    "DefenderContext",
    "Detector",
    "Features",
    "Filter",
    "Finding",
    "Frozen",
    "InputDetector",
    "Loss",
    "Measure",
    "Method",
    "Metric",
    "Model",
    "ModelAttack",
    "ModelDetector",
    "Need",
    "Objective",
    "PairBatch",
    "PairFeatures",
    "Pass",
    "Plan",
    "PlanContext",
    "PoisonContext",
    "PoisonRows",
    "Pool",
    "Positive",
    "Published",
    "Range",
    "Rate",
    "Repair",
    "RepairContext",
    "Segmenter",
    "State",
    "Training",
    "Transform",
    "Trigger",
    "TriggerState",
    "Victims",
    "View",
    "proportion",
]
