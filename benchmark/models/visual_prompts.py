"""Deep visual prompts: learnable tokens that enter the image transformer anew at each of its later blocks.

Jia et al. 2022, arXiv 2203.12119 (VPT-Deep). The blocks themselves stay as they are: hooks put the tokens behind the
class token, replace them at the next block, and take them out behind the last, so that any pooling sees the tokens
that it knows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmark.errors import NotApplicable


class DeepPrompts(nn.Module):
    """The tokens, and the hooks that place them."""

    def __init__(self, *, blocks: int, tokens: int, width: int, batch_first: bool) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(blocks, tokens, width))
        self._axis = 1 if batch_first else 0  # of the tokens in what a block is given

    def enter(self, block: int, found: torch.Tensor) -> torch.Tensor:
        """Puts the prompts of a block (0: the first with prompts) behind the class token, in place of earlier ones."""
        prompts = self.tokens[block].to(found.dtype).unsqueeze(1 - self._axis)
        size = list(found.shape)
        size[self._axis] = self.tokens.shape[1]
        skipped = 1 if block == 0 else 1 + self.tokens.shape[1]
        return self._join(found, prompts.expand(size), skipped)

    def leave(self, found: torch.Tensor) -> torch.Tensor:
        """Takes the prompts out."""
        return self._join(found, None, 1 + self.tokens.shape[1])

    def _join(self, found: torch.Tensor, prompts: torch.Tensor | None, skipped: int) -> torch.Tensor:
        parts = [found.narrow(self._axis, 0, 1), found.narrow(self._axis, skipped, found.shape[self._axis] - skipped)]
        return torch.cat(parts if prompts is None else [parts[0], prompts, parts[1]], dim=self._axis)


class _Hook:
    """Calls the prompts at one block. Its bound methods, unlike closures, follow the prompts into a deep copy."""

    def __init__(self, prompts: DeepPrompts, block: int) -> None:
        self.prompts, self.block = prompts, block

    def before(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.prompts.enter(self.block, inputs[0]), *inputs[1:])

    def after(self, _: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        return self.prompts.leave(output)


def install_prompts(network: nn.Module, *, depth: int, tokens: int) -> None:
    """Adds prompts, all zero, as `visual.prompts.tokens` (blocks, tokens, width).

    Args:
        network: an open_clip network with a vision transformer.
        depth: blocks at the start of the tower that stay without prompts.
        tokens: prompts per block.

    Raises:
        NotApplicable: a convolutional tower, or one with too few blocks.
    """
    visual: Any = network.visual
    transformer = getattr(visual, "transformer", None)
    blocks = getattr(transformer, "resblocks", None)
    if blocks is None:
        raise NotApplicable("visual prompts need a vision transformer; the image tower of this model is another")
    if depth >= len(blocks):
        raise NotApplicable(f"visual prompts from depth {depth} need more blocks than the {len(blocks)} there are")
    batch_first = getattr(transformer, "batch_first", True)
    width = visual.class_embedding.shape[0]
    prompts = DeepPrompts(blocks=len(blocks) - depth, tokens=tokens, width=width, batch_first=batch_first)
    visual.prompts = prompts.to(visual.class_embedding.device)
    for number, block in enumerate(blocks[depth:]):
        block.register_forward_pre_hook(_Hook(prompts, number).before)
    blocks[-1].register_forward_hook(_Hook(prompts, 0).after)
