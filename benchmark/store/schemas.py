"""Schemas of what a run leaves behind: outcomes, epochs of trials, records. No torch: `reports` reads these.

An *outcome* is one evaluated unit, an *epoch row* one measured epoch of one trial on validation, a *record* one
cell under one selection rule on test. Rows are immutable; a changed meaning is a new schema version.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

SCHEMA_VERSION = 3

Status = Literal[
    "ok",
    "failed",
    "out_of_memory",
    "timed_out",
    "not_applicable",
    "attack_did_not_plant",
    "repair_failed",
    "missing",
]
Selection = Literal["undefended", "default", "oracle", "trigger_blind"]
DEFAULTS_STAND_IN = "the defaults stand in"  # in the reason of a trigger-blind selection that found nothing

OUTCOMES = pa.schema(
    [
        ("id", pa.int64()),  # row of the evaluated sample in its data set
        ("condition", pa.string()),  # "clean", "squash" (a trigger's geometry without it), or the attack's name
        # zero_shot, probe, knn; retrieval_image_to_text, retrieval_text_to_image, retrieval_target (captions of the
        # target among the ten that a triggered image retrieves); similarity, similarity_square (mean cosine, and mean
        # squared cosine, of a sample with all others of its condition)
        ("readout", pa.string()),
        ("true_class", pa.int32()),  # class, or for retrieval the index of the true partner
        ("predicted", pa.int32()),  # top-1 class, or index; -1 where nothing is predicted
        ("target_rank", pa.int32()),  # 0 = top; of the attack's target class; of the true partner for retrieval
        ("target", pa.int32()),  # class that this row's sample is to be taken for, by attacks on chosen images; else -1
        ("score", pa.float32()),  # top-1 probability, cosine to the true partner, share of the target, or mean cosine
    ]
)

# What a detector leaves: one row per scored pair or image. Higher scores are more suspicious.
SCORES = pa.schema(
    [
        ("id", pa.int64()),  # row of the pair in its pool, or of the image in its data set
        # "reference": clean validation images, which set the threshold; "clean" and "attacked": what is judged (pairs:
        # by the poison manifest; images: without and with the trigger). Pairs have no reference.
        ("split", pa.string()),
        ("positive", pa.bool_()),  # poisoned, or triggered
        ("score", pa.float32()),
    ]
)

MEASURE = pa.struct(
    [
        ("name", pa.string()),  # clean_accuracy, attack_success_rate, …
        ("readout", pa.string()),
        ("value", pa.float64()),
        ("count", pa.int64()),  # numerator, -1 where the value is not a proportion
        ("total", pa.int64()),  # denominator
        ("version", pa.int32()),  # version of the metric
    ]
)

EPOCHS = pa.schema(
    [
        ("epoch", pa.int32()),  # 1-based; the state after that epoch
        ("validation_accuracy", pa.float64()),
        ("validation_accuracy_total", pa.int64()),
        ("validation_asr", pa.float64()),  # null where the cell has no attack
        ("validation_asr_total", pa.int64()),
        ("validation_poisoned_accuracy", pa.float64()),
        ("validation_loss", pa.float64()),  # contrastive loss on clean validation pairs
        ("training_loss", pa.float64()),
        ("learning_rate", pa.float64()),
    ]
)

TRIALS = pa.schema(
    [
        ("cell", pa.string()),
        ("trial", pa.int32()),  # 0 = the defaults
        ("phase", pa.string()),  # default, quasi_random, tpe
        ("round", pa.int32()),
        ("parameters", pa.string()),  # JSON of the searched fields
        ("strength", pa.float64()),
        ("status", pa.string()),  # ok, collapsed, failed …
        ("reason", pa.string()),
        ("artifact", pa.string()),  # key of the defend artifact
        ("wall_s", pa.float64()),
        ("validation_floor", pa.float64()),  # ASR of the undefended clean twin on validation, which the rules subtract
        *EPOCHS,
    ]
)

RECORDS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("suite", pa.string()),
        ("cell", pa.string()),  # content key of the experiment
        ("selection", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("dataset", pa.string()),
        ("model", pa.string()),
        ("objective", pa.string()),
        ("attack", pa.string()),  # label of the attack, "none" for the clean twin
        ("repair", pa.string()),  # label of the repair, "none" for no repair
        ("detector", pa.string()),  # label of the detector, "none" for none; a cell has a repair or a detector
        ("seed", pa.int64()),
        ("searched", pa.bool_()),
        ("trial", pa.int32()),
        ("epoch", pa.int32()),
        ("parameters", pa.string()),  # JSON: every field of the repair as run
        ("trials_behind_rule", pa.int32()),
        ("measures", pa.list_(MEASURE)),
        ("clean_pairs", pa.int64()),
        ("wall_s", pa.float64()),  # of the repair: of the trials behind a searched rule, else of the one run
        ("device", pa.string()),
        ("environment", pa.string()),  # JSON: versions, host, threads
        ("specification", pa.string()),  # JSON: the full experiment
        ("artifacts", pa.string()),  # JSON: stage -> key
    ]
)

# Columns that may differ between two runs of the same specification.
VOLATILE = ("wall_s", "device", "environment")
