"""What the workers of one training tell each other, beside the gradients, which DDP sends."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist

from benchmark.data.pools import Shard


def world_size() -> int:
    """Number of workers that share the global batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_shard() -> Shard:
    """This worker's part of each global batch."""
    return Shard(dist.get_rank(), world_size()) if world_size() > 1 else Shard()


def gather(local: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """(B, …) of every worker -> (G, …), rank after rank, whatever the dtypes.

    All of them travel in one message: on a small model the wait for an answer costs more than what is sent.
    """
    world = world_size()
    if world == 1:
        return dict(local)
    parts = [tensor.contiguous().view(torch.uint8).flatten() for tensor in local.values()]
    message = torch.cat(parts)
    found = message.new_empty(world * len(message))
    dist.all_gather_into_tensor(found, message)
    columns = found.view(world, -1).split([len(part) for part in parts], dim=1)
    return {
        name: column.contiguous().view(tensor.dtype).view(world * len(tensor), *tensor.shape[1:])
        for (name, tensor), column in zip(local.items(), columns, strict=True)
    }
