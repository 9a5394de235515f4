"""A bank of past embeddings: first in, first out, asked for nearest neighbours. SafeCLIP and RoCLIP share it.

Dwibedi et al. 2021 (NNCLR), arXiv 2104.14548, section 3.1.
Differs from `lightly` 1.2.39, whose bank both published codes use: a batch that does not fit into the rest of the bank
pushes out the oldest entries, where theirs drops what does not fit and starts at the front again. A new bank has rows
of norm 1, as in lightly 1.6.0. In 1.2.39 the normalised bank is thrown away, so that rows have a norm of about sqrt(D),
come back as neighbours at that length, and make logits that much larger until the bank has been filled once: with
SafeCLIP after a batch or so, with RoCLIP after 21,845 captions of matched epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.rng import generator

if TYPE_CHECKING:
    import torch


def new_bank(size: int, embed_dim: int, *, seed: int) -> torch.Tensor:
    """(S, D) random directions of norm 1."""
    import torch
    from torch.nn import functional

    return functional.normalize(torch.randn(size, embed_dim, generator=generator(seed)), dim=1)


def nearest(queries: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """(G, D) normalised embeddings -> (G, D) entries of the (S, D) bank with the largest cosine, without gradient."""
    return bank[(queries.detach() @ bank.T).argmax(1)]


def pushed(bank: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
    """The bank with a batch at its end and as many of the oldest entries gone; a new tensor."""
    import torch

    return torch.cat((bank[len(embeddings) :], embeddings.detach()[-len(bank) :]))
