"""Schemas of what a run leaves behind: outcomes, epochs of trials, records. No torch: `reports` reads these.

An *outcome* is one evaluated unit, an *epoch row* one measured epoch of one trial on validation, a *record* one
cell under one selection rule on test, a *measure* one number of a record, or of a metric that came later. Rows are
immutable; a changed meaning is a new schema version, new columns too.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyarrow has no annotations: what its functions give is known to nobody.

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pyarrow as pa

SCHEMA_VERSION = 4

Status = Literal[
    "ok",
    "failed",
    "out_of_memory",
    "timed_out",
    "not_applicable",
    "attack_did_not_plant",
    "repair_failed",
    "refused",
    "missing",
]
Selection = Literal["undefended", "default", "oracle", "trigger_blind"]
BLIND_PHASES = frozenset({"default", "grid", "quasi_random"})  # of trials whose proposals never saw attack success
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

_NUMBER = [
    ("name", pa.string()),  # clean_accuracy, attack_success_rate, …
    ("readout", pa.string()),
    ("value", pa.float64()),
    ("count", pa.int64()),  # numerator, -1 where the value is not a proportion
    ("total", pa.int64()),  # denominator
    ("version", pa.int32()),  # version of the metric
    ("metric", pa.string()),  # its name; "" for numbers that no metric gives
    ("unit", pa.string()),  # "share", "pairs", "classes", …
    ("lower", pa.float64()),  # bounds of the value; null: unbounded
    ("upper", pa.float64()),
    ("higher_is_better", pa.bool_()),  # null: neither
]
MEASURE = pa.struct(_NUMBER)

# `measures.parquet` of a `measure` artifact: a metric over the outcomes of finished cells, beside their records. Its
# manifest names the `metric` (its identity) and the `cells` (keys of their records).
MEASURES = pa.schema([("cell", pa.string()), ("selection", pa.string()), *_NUMBER])

# `rebound.parquet` of a `rebound` artifact: what a model measures on test along a fine-tuning, zero-shot, in the form in
# which the attack shows. Its `outcomes.parquet` holds the tables behind that: OUTCOMES with a column `step`.
REBOUND = pa.schema([("step", pa.int32()), *_NUMBER])

# One table that a record's numbers come from: `<stage>/<key>/<attempt>/<file>`, the attempt named by the manifest.
SOURCE = pa.struct(
    [
        # own_clean, own_triggered, own_squash; twin_clean, twin_triggered: of the undefended clean twin;
        # repaired_twin_triggered; outside_clean: of the model from outside; validation_start, validation_floor: what a
        # search compares with; epochs: of the repair behind the record; scores: of a detector
        ("role", pa.string()),
        ("stage", pa.string()),  # evaluate, defend, detect
        ("key", pa.string()),
        ("file", pa.string()),
        ("transform", pa.string()),  # of the model, such as int8; null: as it is
        ("model_stage", pa.string()),  # of the model that was looked at: pretrain or defend
        ("model", pa.string()),  # its key
        ("epoch", pa.int32()),  # its epoch, of a defend artifact
        ("split", pa.string()),  # test or validation; null for what is no evaluation
    ]
)
# What triggers that are fitted on the evaluated model reach on a clean twin at the same budget.
FLOOR = pa.struct(
    [
        ("trigger", pa.string()),  # label of the test-time attack
        ("readout", pa.string()),
        ("value", pa.float64()),
        ("count", pa.int64()),
        ("total", pa.int64()),
        ("key", pa.string()),  # of the outcomes
    ]
)
STATUS_COUNT = pa.struct([("status", pa.string()), ("count", pa.int32())])

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
        ("phase", pa.string()),  # default, grid, quasi_random, tpe
        ("round", pa.int32()),
        ("parameters", pa.string()),  # JSON of the searched fields
        ("strength", pa.float64()),
        ("status", pa.string()),  # ok, collapsed, failed …
        ("reason", pa.string()),
        ("artifact", pa.string()),  # key of the defend artifact
        ("wall_s", pa.float64()),
        ("validation_floor", pa.float64()),  # ASR of the undefended clean twin on validation, which the rules subtract
        ("validation_start", pa.float64()),  # CA of the undefended model on validation, which the rules compare with
        *EPOCHS,
    ]
)

# Null until a stage writes them: so that suites which are frozen now need no new schema then.
_LATER = [
    ("evidence", pa.string()),  # what stands behind the row: claimed, recomputed, reproduced_models, re_evaluated, …
    ("model_settings", pa.string()),  # JSON: what of the model is not in its name and its start
    ("federation", pa.string()),  # key of the `federate` artifact
    ("aggregator", pa.string()),  # label of its aggregator
    ("malicious_rate", pa.float64()),  # share of its clients that attack
    ("heterogeneity", pa.float64()),  # Dirichlet concentration of its clients' rows
    ("rebound", pa.string()),  # never written: trajectories come after the record, and the board finds them by weights
    ("floors", pa.list_(FLOOR)),  # ASR without any poison, beside the clean twin's under the attack's own trigger
]

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
        ("dataset_settings", pa.string()),  # JSON: fields of the data set that are not at their defaults, without paths
        ("evaluation", pa.string()),  # name of the set that judges; null: the data set itself
        ("start_from", pa.string()),  # JSON: the weights that pre-training began with; null: none
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
        ("sources", pa.list_(SOURCE)),  # every table that the row's numbers come from
        ("trial_statuses", pa.list_(STATUS_COUNT)),  # of the trials behind the rule, ok first; null: no repair was run
        ("epochs_measured", pa.int32()),  # by those trials, on validation
        ("epochs_within_bound", pa.int32()),  # of these, those that met search.asr_bound and did not collapse
        ("code_version", pa.string()),  # of the package
        ("code_commit", pa.string()),  # of its checkout; null where it is installed otherwise
        ("code_dirty", pa.bool_()),  # whether files of the code were changed since that commit
        *_LATER,
    ]
)

# Version -> columns that tables of older ones lack: read as null, but for `detector`, which was "none" for all.
ADDED: Mapping[int, frozenset[str]] = {
    2: frozenset({"detector"}),
    3: frozenset({"validation_floor"}),
    4: frozenset({"validation_start", "dataset_settings", "evaluation", "start_from", "sources", "trial_statuses"})
    | frozenset({"epochs_measured", "epochs_within_bound", "code_version", "code_commit", "code_dirty"})
    | frozenset(name for name, _ in _LATER),
}

# `front.parquet` of a record: the epochs on a searched cell's validation front (`trials.parquet` has what they measured
# there), on test.
FRONT = pa.schema(
    [
        ("cell", pa.string()),
        ("trial", pa.int32()),
        ("epoch", pa.int32()),
        ("artifact", pa.string()),  # key of the defend artifact
        ("status", pa.string()),
        ("reason", pa.string()),
        ("measures", pa.list_(MEASURE)),
        ("sources", pa.list_(SOURCE)),
    ]
)

# Columns that may differ between two runs of the same specification.
VOLATILE = ("wall_s", "device", "environment", "code_version", "code_commit", "code_dirty")
