"""`verma2025-ablations`, `verma2025-ssl-weight`: what else was changed on CC6M, each row at the published rates.

Verma et al. 2025, arXiv 2311.14948; `docs/study.md` says where each number comes from. The models of the first grid are
those of `verma2025-cc6m`, so that one store trains them once. Left out: deep clustering, which no method here does, and
the targets of Caltech-101 and CIFAR-100, which are other judges and so other suites (`--set evaluation=…`).
"""

from __future__ import annotations

from typing import Any

from benchmark.attacks.label_consistent import LabelConsistent
from benchmark.attacks.wanet import WaNet
from benchmark.config.pretraining import Trainings
from benchmark.config.spec import Grid, ModelSpec, Suite
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.heavy_weight_decay import HeavyWeightDecay
from benchmark.repairs.shrink_and_perturb import ShrinkAndPerturb
from benchmark.types import BaseAttack, Choices, Training
from suites.study_settings import TARGET, badnet
from suites.verma2025 import (
    CC6M_PAIRS,
    CC6M_POISONS,
    CC6M_RATES,
    CLEAN_PAIRS,
    PUBLISHED,
    SSL_WEIGHT,
    Space,
    cc6m,
    cc6m_grid,
    cleaning,
)

POISONS_LEFT = (1, 2, 3, 4, 5, 10, 25)
DECAYS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
FEWER_POISONS = (400, 800)
SSL_WEIGHTS, SSL_WEIGHT_RATES = (1.0, 2.0, 4.0, 6.0, 8.0), (5e-5, 1e-4, 5e-4, 1e-3)
CLEANING: dict[str, Any] = {"epochs": 20, "batch_size": 64, "warmup_steps": 50}
LONGER: dict[str, Any] = CLEANING | {"epochs": 100}
# taken after these epochs; where the study names none, as without the change
WANET_STOPS, PRETRAINED_STOPS = {"mmcl": 33, "mmcl-ssl": 43}, {"mmcl": 18, "mmcl-ssl": 13}


def suite() -> Suite:
    """Poison left in the clean set, 200,000 clean pairs, longer, shrunk and heavily decayed; then other models."""
    base, spaces = cc6m_grid(), dict(cc6m_grid().spaces)
    rates: Space = {"learning_rate": Choices(CC6M_RATES), "ssl_weight": SSL_WEIGHT}
    spaces["shrink-and-perturb"] = rates | {"shrink": Choices((0.95,)), "noise": Choices((1e-4,))}
    # 144 of the published 155 runs over both models, whose rates are not told
    heavy: Space = {"learning_rate": Choices(CC6M_RATES[8:]), "ssl_weight": SSL_WEIGHT}
    spaces["heavy-weight-decay"] = heavy | {"weight_decay": Choices(DECAYS)}
    change = {
        "name": "verma2025-ablations",
        "title": "Verma et al. 2025 on CC6M: ablations",
        "repairs": (
            *(CleanCLIP(**CLEANING, num_clean_pairs=CLEAN_PAIRS, num_poisons_left=left) for left in POISONS_LEFT),
            CleanCLIP(**CLEANING),  # all 200,000
            CleanCLIP(**LONGER, num_clean_pairs=CLEAN_PAIRS),
            ShrinkAndPerturb(**CLEANING, num_clean_pairs=CLEAN_PAIRS),
            HeavyWeightDecay(**CLEANING, num_clean_pairs=CLEAN_PAIRS),
        ),
        "searched": frozenset(spaces),
        # fewer strips: there are fifty searches
        "search": PUBLISHED.model_copy(update={"trials": len(DECAYS) * 8, "front": 6, "front_strips": 6}),
        "spaces": spaces,
        "also": _other_models(base),
    }
    return base.model_copy(update=change)


def ssl_weight() -> Suite:
    """The weight of CleanCLIP's in-modal term against its rate: 20 runs for each model."""
    base = cc6m()
    space: Space = {"learning_rate": Choices(SSL_WEIGHT_RATES), "ssl_weight": Choices(SSL_WEIGHTS)}
    change = {
        "name": "verma2025-ssl-weight",
        "title": "Verma et al. 2025 on CC6M: weight of the in-modal term",
        "repairs": (CleanCLIP(**CLEANING, num_clean_pairs=CLEAN_PAIRS),),
        "searched": frozenset({"cleanclip"}),
        "search": PUBLISHED,
        "spaces": {"cleanclip": space},
        "seeds": (0,),
    }
    return base.model_copy(update=change)


def _other_models(base: Suite) -> tuple[Grid, ...]:
    """Fewer poisons, two other attacks, a transformer, and CLIP's own weights as the start."""
    fewer = tuple(badnet(count, CC6M_PAIRS) for count in FEWER_POISONS)
    share = CC6M_POISONS / CC6M_PAIRS
    warp = WaNet(target=TARGET, poison_rate=share, templates="as_published", variant="clip", strength=0.6)
    patch: dict[str, Any] = {"size": 16, "pattern": "uniform", "mode": "fresh", "location": "random"}
    consistent = LabelConsistent(target=TARGET, poison_rate=share, variant="as_released", **patch)
    no_groups = base.pretrain.model_copy(update={"norm_group": None})  # a transformer has no BatchNorm
    slow = base.pretrain.model_copy(update={"learning_rate": 5e-7})
    stops = base.pretrain_by_objective
    return (
        _grid(base, base.model, base.pretrain, stops, (*fewer, consistent)),
        _grid(base, base.model, base.pretrain, _stopped(stops, WANET_STOPS), (warp,)),
        _grid(base, ModelSpec(name="ViT-B-32"), no_groups, _without_groups(stops), base.attacks),
        _grid(
            base,
            ModelSpec(name="RN50-quickgelu", pretrained="openai"),
            slow,
            _stopped(stops, PRETRAINED_STOPS),
            base.attacks,
        ),
    )


def _grid(base: Suite, model: ModelSpec, pretrain: Training, stops: Trainings, attacks: tuple[BaseAttack, ...]) -> Grid:
    return Grid(
        model=model,
        pretrain=pretrain,
        pretrain_by_objective=stops,
        objectives=(MMCL(), MMCLSSL()),
        attacks=attacks,
        repairs=cleaning(fine_tuning_batch=128, batch=64, num_clean_pairs=CLEAN_PAIRS),
        searched=base.searched,
    )


def _stopped(trainings: Trainings, stops: dict[str, int]) -> Trainings:
    """Trainings of both objectives that are taken after other epochs."""
    return {name: trainings.get(name, {}) | {"stop_after": stop} for name, stop in stops.items()}


def _without_groups(trainings: Trainings) -> Trainings:
    return {name: own | {"norm_group": None} for name, own in trainings.items()}
