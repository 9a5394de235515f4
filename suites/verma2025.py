"""`verma2025-cc3m`, `verma2025-cc6m`: cleaning after MMCL and after MMCL+SSL, with the published recipes.

Verma et al., Effective Backdoor Mitigation in Vision-Language Models Depends on the Pre-training Objective, TMLR 2025,
arXiv 2311.14948; github.com/vsahil/attack-cleanclip at 3d4bd74. `docs/study.md` says where each number comes from.
The suites search every repair with an equal budget, under this benchmark's protocol and three seeds. Those whose names
end in `-grid` run the learning rates that were published, one seed, and bound ASR itself; on one store both share all
models. Published batches differ between the objectives (2,048 and 1,024), here too.
"""

from __future__ import annotations

from benchmark.config.pretraining import Trainings
from benchmark.config.spec import ModelSpec, Search, Splits, Suite
from benchmark.datasets.known import CC3M, CC12M
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.batch_norm_only import BatchNormOnly
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.repairs.ssl_only import SSLOnly
from benchmark.types import Choices, Dataset, Range, Repair, Training
from suites.study_settings import GATE, NUM_TEST, NUM_VALIDATION, READOUTS, badnet, imagenet

SEARCHED = ("fine-tuning", "ssl-only", "cleanclip")
Space = dict[str, Range | Choices]

CC3M_PAIRS, CC3M_POISONS = 2_725_316, 1_500
CC6M_PAIRS, CC6M_POISONS = (
    6_000_000,
    3_000,
)  # the first rows of CC12M; how many of the six million were read is not told
CLEAN_PAIRS = 100_000
GPUS = 8  # each normalised over its own part of the batch
EPOCHS, ACCURACY_MATCHED = 64, {"mmcl": 21, "mmcl-ssl": 36}
BATCH = {"mmcl": 2048, "mmcl-ssl": 1024}

CC3M_RATES = (1e-5, 4e-5, 8e-5, 1e-4, 1.5e-4, 2e-4, 2.5e-4, 3e-4, 3.5e-4, 4e-4, 8e-4, 1e-3, 4e-3)
# which eight of them SSL alone was cleaned with is not told; these span the same range
CC3M_SSL_RATES = (1e-5, 4e-5, 8e-5, 1e-4, 2e-4, 4e-4, 1e-3, 4e-3)
CC6M_RATES = (1e-9, 5e-9, 1e-8, 5e-8, 1e-7, 3e-7, 7e-7, 1e-6, 3e-6, 7e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
SSL_WEIGHT = Choices((1.0,))  # its own sweep is an ablation

PRETRAIN = Training(
    epochs=EPOCHS,
    batch_size=BATCH["mmcl"],
    norm_group=BATCH["mmcl"] // GPUS,
    learning_rate=1e-3,
    warmup_steps=10_000,
    weight_decay=0.1,
)
SSL_PRETRAIN = {"batch_size": BATCH["mmcl-ssl"], "norm_group": BATCH["mmcl-ssl"] // GPUS}
EQUAL = Search(trials=32, quasi_random=16, round_size=8, startup_trials=16, front=16, front_strips=16)
PUBLISHED = Search(trials=20, grid=True, bound_on="absolute", front=16, front_strips=16)


def cc3m() -> Suite:
    """1,500 poisons; models of the lowest validation loss; batch 128 in all cleaning."""
    space: Space = {"learning_rate": Range(CC3M_RATES[0], CC3M_RATES[-1], log=True)}
    return _study(
        "cc3m",
        data=CC3M(held_out_window=200_000),
        splits=splits(CC3M_PAIRS, CLEAN_PAIRS),
        pretrain=PRETRAIN.model_copy(update={"take": "lowest_validation_loss"}),
        by_objective={"mmcl-ssl": SSL_PRETRAIN},
        num_poisons=CC3M_POISONS,
        repairs=cleaning(fine_tuning_batch=128, batch=128),
        spaces=dict.fromkeys(SEARCHED, space),
    )


def cc3m_grid() -> Suite:
    """The same with the published 68 runs: 13 rates for two losses and 8 for SSL alone, after both objectives."""
    rates = {"fine-tuning": CC3M_RATES, "ssl-only": CC3M_SSL_RATES, "cleanclip": CC3M_RATES}
    return _published(cc3m(), rates)


def cc6m() -> Suite:
    """3,000 poisons; models of equal accuracy, after 21 and 36 of 64 epochs."""
    # below 1e-7 no weight moves: that is `batch-norm-only`
    space: Space = {"learning_rate": Range(1e-7, CC6M_RATES[-1], log=True)}
    return _study(
        "cc6m",
        data=cc12m(),
        splits=splits(CC6M_PAIRS, 2 * CLEAN_PAIRS),
        pretrain=PRETRAIN.model_copy(update={"stop_after": ACCURACY_MATCHED["mmcl"]}),
        by_objective={"mmcl-ssl": SSL_PRETRAIN | {"stop_after": ACCURACY_MATCHED["mmcl-ssl"]}},
        num_poisons=CC6M_POISONS,
        # half of the clean split, whose other half serves the ablation with 200,000 pairs after the same models
        repairs=cleaning(fine_tuning_batch=128, batch=64, num_clean_pairs=CLEAN_PAIRS),
        spaces=dict.fromkeys(SEARCHED, space),
    )


def cc6m_grid() -> Suite:
    """The same with the published rates, 16 for each loss: 96 of 145 runs; how the others were spread is not told."""
    return _published(cc6m(), dict.fromkeys(SEARCHED, CC6M_RATES))


def cc12m() -> CC12M:
    """The set that "CC6M" is a part of, with room for 200,000 clean pairs among its first rows."""
    return CC12M(held_out_window=300_000)


def splits(num_pairs: int, num_clean: int) -> Splits:
    """The studies' sizes, and ours of what selects and what judges."""
    return Splits(pretrain=num_pairs, clean=num_clean, validation=NUM_VALIDATION, test=NUM_TEST)


def cleaning(*, fine_tuning_batch: int, batch: int, num_clean_pairs: int | None = None) -> tuple[Repair, ...]:
    """The three cleaning losses at CleanCLIP's default rate, 20 epochs, 50 steps of warm-up; and the control."""
    shared = {"epochs": 20, "warmup_steps": 50, "num_clean_pairs": num_clean_pairs}
    return (
        FineTuning(batch_size=fine_tuning_batch, **shared),
        SSLOnly(batch_size=batch, **shared),
        CleanCLIP(batch_size=batch, **shared),
        BatchNormOnly(epochs=20, batch_size=fine_tuning_batch, num_clean_pairs=num_clean_pairs),
    )


def _study(
    part: str,
    *,
    data: Dataset,
    splits: Splits,
    pretrain: Training,
    by_objective: Trainings,
    num_poisons: int,
    repairs: tuple[Repair, ...],
    spaces: dict[str, Space],
) -> Suite:
    assert splits.pretrain is not None
    return Suite(
        name=f"verma2025-{part}",
        title=f"Verma et al. 2025 on {part.upper()}: equal search budgets",
        data=data,
        evaluation=imagenet(),
        splits=splits,
        model=ModelSpec(name="RN50"),
        pretrain=pretrain,
        pretrain_by_objective=by_objective,
        objectives=(MMCL(), MMCLSSL()),
        attacks=(badnet(num_poisons, splits.pretrain),),
        repairs=repairs,
        searched=frozenset(spaces),
        search=EQUAL,
        spaces=spaces | {"cleanclip": spaces["cleanclip"] | {"ssl_weight": SSL_WEIGHT}},
        gate=GATE,
        readouts=READOUTS,
        seeds=(0, 1, 2),
    )


def _published(suite: Suite, rates: dict[str, tuple[float, ...]]) -> Suite:
    """A suite with the published rates in place of its search, and with one seed."""
    spaces: dict[str, Space] = {name: {"learning_rate": Choices(values)} for name, values in rates.items()}
    spaces["cleanclip"]["ssl_weight"] = SSL_WEIGHT
    change = {
        "name": f"{suite.name}-grid",
        "title": suite.title.replace("equal search budgets", "the published grid"),
        "search": PUBLISHED,
        "spaces": spaces,
        "seeds": (0,),
    }
    return suite.model_copy(update=change)
