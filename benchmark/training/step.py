"""One optimisation step on the global batch: exact under several workers and under gradient accumulation.

The loss is computed on the gathered embeddings as leaves; the gradient of the leaves that this worker made is then
sent back through its towers. That is the gradient through the gather, without N x N logits being stored per worker
twice, and it lets micro-batches be encoded a second time for their gradients (GradCache, Gao et al., arXiv
2101.06983), so that accumulation keeps the contrastive batch exact.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmark.models.batch_norm import GroupBatchNorm2d, commit, group_norms, set_collect, statistics
from benchmark.models.clip import ClipModel
from benchmark.training.exchange import gather, own_shard, world_size
from benchmark.training.views import Inputs, cut
from benchmark.types import Features, Pass, State, View

Embeddings = dict[str, torch.Tensor]  # by view
BUCKET_MB = 25  # DDP's own, but for its small first bucket: a message more, whose wait a small model feels


class Towers(nn.Module):
    """Both towers behind one forward, so that DDP sees a single module."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.network = model.network
        self.model = (model,)  # in a tuple: not a submodule

    def forward(self, images: torch.Tensor | None, tokens: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """uint8 images (k*B, 3, H, W) and tokens (k*B, L) -> L2-normalised embeddings (k*B, D) each."""
        model = self.model[0]
        image = None if images is None else model.encode_images(images)
        text = None if tokens is None else model.encode_tokens(tokens)
        return image, text


class Stepper(NamedTuple):
    """What a step needs beside the batch."""

    model: ClipModel
    towers: nn.Module  # Towers, wrapped in DDP where there are several workers
    norms: list[GroupBatchNorm2d]
    micro_batch: int | None
    autocast: bool
    reference: ClipModel | None = None  # frozen, for the "_reference" views
    parameters: nn.ParameterDict = nn.ParameterDict()  # the objective's own


def make_stepper(
    model: ClipModel, *, norm_group: int | None, micro_batch: int | None, autocast: bool, one_tower: bool = False
) -> Stepper:
    """Prepares a model for steps; wraps it in DDP where torch.distributed runs with several workers.

    `one_tower` says that some pass leaves a tower out, which DDP must look for.
    """
    norms = group_norms(model.network)
    for norm in norms:
        norm.group = norm_group
        norm.seen = ()
    towers: nn.Module = Towers(model)
    if world_size() > 1:
        # the logit scale gets its gradient from the loss itself, equal on every worker; buffers come with the step
        ignored = ["network.logit_scale", *(name for name, _ in towers.named_buffers())]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(towers, ignored)
        towers = DistributedDataParallel(
            towers,
            gradient_as_bucket_view=True,
            find_unused_parameters=one_tower,
            bucket_cap_mb=BUCKET_MB,
        )
    return Stepper(model, towers, norms, micro_batch, autocast)


def encode(stepper: Stepper, inputs: Inputs) -> Embeddings:
    """Encodes every view of a (micro-)batch in one forward per tower."""
    count = len(inputs.rows)
    images = torch.cat(list(inputs.images.values())) if inputs.images else None
    tokens = torch.cat(list(inputs.tokens.values())) if inputs.tokens else None
    device = stepper.model.device.type
    with torch.autocast(device, dtype=torch.bfloat16) if stepper.autocast else contextlib.nullcontext():
        image, text = stepper.towers(images, tokens)
    found: Embeddings = {}
    for views, embeddings in ((inputs.images, image), (inputs.tokens, text)):
        if embeddings is not None:
            found.update(zip(views, embeddings.float().split(count), strict=True))
    return found


def forward_only(stepper: Stepper, inputs: Inputs) -> None:
    """Re-estimates BatchNorm statistics: the step of a training whose learning rate is 0."""
    with torch.no_grad():
        for start in range(0, len(inputs.rows), stepper.micro_batch or len(inputs.rows)):
            part = cut(inputs, start, start + (stepper.micro_batch or len(inputs.rows)))
            encode(stepper, part._replace(tokens={}))
    commit(stepper.norms, gather(statistics(stepper.norms)))


def backward(stepper: Stepper, inputs: Inputs, one_pass: Pass, state: State) -> tuple[torch.Tensor, State]:
    """Puts the gradient of the global loss into the parameters; returns the detached loss () and the new state."""
    local, size = len(inputs.rows), stepper.micro_batch or len(inputs.rows)
    if size >= local:
        embeddings = encode(stepper, inputs)
        loss, gradients, state = _loss_gradients(stepper, embeddings, inputs, one_pass, state)
        _send_back(embeddings, gradients)
    else:
        parts = [cut(inputs, start, start + size) for start in range(0, local, size)]
        with torch.no_grad():
            first = [encode(stepper, part) for part in parts]
        embeddings = {view: torch.cat([part[view] for part in first]) for view in first[0]}
        loss, gradients, state = _loss_gradients(stepper, embeddings, inputs, one_pass, state)
        set_collect(stepper.norms, False)
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            with contextlib.nullcontext() if last or world_size() == 1 else stepper.towers.no_sync():  # type: ignore[operator]
                _send_back(encode(stepper, part), {v: g[i * size : (i + 1) * size] for v, g in gradients.items()})
        set_collect(stepper.norms, True)
    return loss, state


def _send_back(embeddings: Embeddings, gradients: Embeddings) -> None:
    torch.autograd.backward(list(embeddings.values()), [gradients[view] for view in embeddings])


def _loss_gradients(
    stepper: Stepper, local: Embeddings, inputs: Inputs, one_pass: Pass, state: State
) -> tuple[torch.Tensor, Embeddings, State]:
    shard, count = own_shard(), len(inputs.rows)
    told = gather(
        {view: embedding.detach() for view, embedding in local.items()}
        | references(stepper, inputs, one_pass.views)
        | statistics(stepper.norms)
        | {"rows": inputs.rows}
        | ({} if inputs.labels is None else {"labels": inputs.labels})
    )
    commit(stepper.norms, told)
    leaves = {view: told[view].requires_grad_() for view in local}
    features = Features(
        image=leaves.get("image"),
        text=leaves.get("text"),
        image_augmented=leaves.get("image_augmented"),
        text_augmented=leaves.get("text_augmented"),
        logit_scale=stepper.model.logit_scale(),
        rows=told["rows"],
        image_reference=told.get("image_reference"),
        text_reference=told.get("text_reference"),
        labels=told.get("labels"),
        parameters=dict(stepper.parameters),
    )
    loss = one_pass.loss(features, state)
    loss.total.backward()
    own = shard.slice(count * shard.world)
    # DDP averages over workers, so each worker's share is scaled up to make the average a sum
    gradients: Embeddings = {
        view: (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)[own] * shard.world
        for view, leaf in leaves.items()
    }
    return loss.total.detach(), gradients, {name: value.detach() for name, value in loss.state.items()}


@torch.no_grad()
def references(stepper: Stepper, inputs: Inputs, views: frozenset[View]) -> Embeddings:
    """(B, D) embeddings that the frozen reference gives the plain views, for those that a pass asks for."""
    model, found = stepper.reference, {}
    if model is None:
        return found
    for view, given, encoder in (
        ("image_reference", inputs.images.get("image"), model.encode_images),
        ("text_reference", inputs.tokens.get("text"), model.encode_tokens),
    ):
        if view in views and given is not None:
            size = stepper.micro_batch or len(given)
            found[view] = torch.cat([encoder(part) for part in given.split(size)])
    return found
