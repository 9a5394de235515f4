"""Retrieval between images and captions: the rank of the true partner, and what a triggered image retrieves."""

from __future__ import annotations

import torch

from benchmark.evaluation.readouts import Scores, chunk, concatenate, int32
from benchmark.types.readouts import TOP


def retrieve(queries: torch.Tensor, candidates: torch.Tensor) -> Scores:
    """Ranks the candidates of each query by cosine; the true partner of query i is candidate i.

    Args:
        queries: (P, D) L2-normalised.
        candidates: (P, D) L2-normalised; equal rows (one caption twice) tie, a tie does not push the partner down.
    """
    distinct, places = torch.unique(candidates, dim=0, return_inverse=True)
    parts, start = [], 0
    with torch.inference_mode():
        for rows in queries.split(chunk(queries, len(candidates))):
            cosine = (rows @ distinct.T)[:, places]  # equal candidates get equal bits
            own = cosine[:, start : start + len(rows)].diagonal()
            above = (cosine > own[:, None]).sum(dim=1)
            parts.append(Scores(int32(cosine.argmax(dim=1)), int32(above), own.float().cpu().numpy()))
            start += len(rows)
    return concatenate(parts)


def retrieve_target(queries: torch.Tensor, candidates: torch.Tensor, labels: torch.Tensor, *, target: int) -> Scores:
    """What a triggered image retrieves: the class of its first caption, and how much of the target is among ten.

    Args:
        queries: (B, D) L2-normalised embeddings of triggered images.
        candidates: (P, D) L2-normalised embeddings of captions.
        labels: (P,) int64 class of each caption's pair.
        target: the attack's target class.

    Returns:
        predicted: class of the nearest caption; rank: captions of other classes before the first of the target, at
        most TOP; score: share of the target among the first TOP.
    """
    near = min(TOP, len(candidates))
    with torch.inference_mode():
        first = labels[(queries @ candidates.T).topk(near, dim=1).indices]  # (B, near)
        hits = first == target
        before = torch.where(hits.any(1), hits.int().argmax(1), TOP)
    return Scores(int32(first[:, 0]), int32(before), hits.float().mean(1).cpu().numpy())
