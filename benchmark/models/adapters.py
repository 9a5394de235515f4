"""Adapters that a method adds to a network, such as visual prompts: what a delta holds beside weights.

An adapter is a name and plain options. `ClipModel.add_adapter` installs it, the sidecar of a saved model lists it
(under "parts"), and loading installs it again before the tensors are put in their places. Whatever an adapter learns
are tensors of the network, so that clones, optimisers and checkpoints need to know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from benchmark.errors import unknown
from benchmark.models.visual_prompts import install_prompts

INSTALLERS: Mapping[str, Callable[..., None]] = {"prompts": install_prompts}


def install(network: nn.Module, name: str, options: Mapping[str, Any]) -> None:
    """Puts an adapter into a network, in place.

    Raises:
        UnknownNameError: no such adapter.
        NotApplicable: the network cannot hold it.
    """
    if name not in INSTALLERS:
        raise unknown("model adapter", name, INSTALLERS)
    INSTALLERS[name](network, **options)
