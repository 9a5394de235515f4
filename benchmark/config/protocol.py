"""The protocol's parts: sizes of the splits, the search, the gate, and what is read out beside zero-shot."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchmark.types import Count, Frozen


class Splits(Frozen):
    """Sizes of the disjoint splits; `pretrain` of None takes all rows that are left."""

    pretrain: Count | None = None
    clean: Count = 1000
    validation: Count = 1000
    test: Count = 1000
    outside: Annotated[
        int,
        Field(
            ge=0,
            description="pairs for a clean model from outside, where a card asks for one; 0: as many as `pretrain`, "
            "as far as there are unused rows; to be given where `pretrain` takes all that is left",
        ),
    ] = 0
    seed: Annotated[int, Field(description="which rows go where, and which template each label's caption takes")] = 0


class Search(Frozen):
    """Budget and rules of one cell's hyper-parameter search."""

    trials: Annotated[int, Field(ge=1, description="proposed trials, beside the defaults")] = 8
    quasi_random: Annotated[int, Field(ge=1, description="of these, drawn without seeing any result")] = 4
    round_size: Annotated[int, Field(ge=1, description="trials proposed at once")] = 2
    startup_trials: Annotated[int, Field(ge=1, description="TPE's n_startup_trials")] = 4
    # the rules' own fields decide which weights a trial keeps, so that they enter every trial's key
    asr_bound: Annotated[float, Field(gt=0, le=1, description="the oracle rule's bound")] = 0.05
    bound_on: Annotated[str, Field(pattern="^(net|absolute)$", description="net: ASR minus the floor")] = "net"
    blind_drop: Annotated[float, Field(ge=0, le=1, description="trigger-blind: accepted validation CA loss")] = 0.02
    collapse: Annotated[
        float, Field(ge=0, le=1, description="a trial ends when validation CA falls below this share of the start")
    ] = 0.3
    front: Annotated[
        int, Field(ge=0, description="most epochs of the validation front that are kept and evaluated on test; 0: none")
    ] = 0
    front_strips: Annotated[
        int,
        Field(
            ge=0,
            description="the front is of the best epoch of each of so many equal strips of ASR, and a trial keeps the "
            "weights of what no other trial beats; 0: of all epochs, and each trial keeps its own front",
        ),
    ] = 0
    grid: Annotated[
        bool,
        Field(description="run the first `trials` combinations of the space's choices, in order, and propose nothing"),
    ] = False


class Gate(Frozen):
    """When an attack counts as planted."""

    min_asr: Annotated[float, Field(ge=0, le=1, description="of the undefended model")] = 0.8
    min_asr_on: Annotated[str, Field(pattern="^(net|absolute)$", description="net: ASR minus the floor")] = "absolute"
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1, description="CA below the clean twin's")] = 0.05


class Readouts(Frozen):
    """Which read-outs are evaluated beside zero-shot."""

    probe: bool = True
    knn: bool = True
    knn_neighbours: Count = 20
    retrieval: bool = True
    retrieval_pairs: Count = 500
    similarity_samples: Annotated[int, Field(ge=0, description="of the backdoor z-score; 0: none")] = 500
    squash: Annotated[
        bool, Field(description="evaluate the clean test split squashed instead of cropped, too: a control")
    ] = False
