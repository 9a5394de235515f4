"""Learning rate over steps, and which parameters decay."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from benchmark.types import Training


def learning_rate(training: Training, step: int, *, steps_per_epoch: int) -> float:
    """Linear warm-up, then cosine to 0 (protocol section 2; github.com/nishadsinghi/CleanCLIP at d6e2f1d).

    Args:
        training: peak, warm-up and variant.
        step: 0-based step over the whole run.
        steps_per_epoch: steps of one epoch.

    The first step of a warm-up of W is `peak / W`. `as_released` counts from one epoch later, as the released loop
    does, whose epochs start at 1: a warm-up of an epoch or less never happens, a longer one starts one epoch up, and
    the rate rises again in the last epoch.
    """
    total = training.epochs * steps_per_epoch
    k = step + (steps_per_epoch if training.schedule == "as_released" else 0)
    warmup = training.warmup_steps
    if k < warmup:
        return training.learning_rate * (k + 1) / warmup
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * (k - warmup) / max(1, total - warmup)))


def named_parameters(network: nn.Module, own: nn.ParameterDict | None = None) -> Iterator[tuple[str, nn.Parameter]]:
    """What is learnt: the network's parameters, and the objective's own under `objective.<name>`."""
    yield from network.named_parameters()
    yield from ((f"objective.{name}", parameter) for name, parameter in (own or {}).items())


def adamw(network: nn.Module, training: Training, own: nn.ParameterDict | None = None) -> torch.optim.AdamW:
    """AdamW without decay on norms, biases, the logit scale and every other vector (protocol section 2).

    Differs, under every schedule: the released code of CleanCLIP exempts by name, whatever holds "bn", "ln", "bias" or
    "logit_scale". By that rule the four `visual.layer*.0.downsample.1.weight` of RN50 (norms, too) and the class
    embedding of a ViT decay; here they do not.
    """
    decay, plain = [], []
    for name, parameter in named_parameters(network, own):
        exempt = parameter.ndim < 2 or name.endswith("bias") or "logit_scale" in name
        (plain if exempt else decay).append(parameter)
    groups = [{"params": decay, "weight_decay": training.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=training.learning_rate, betas=(training.beta1, training.beta2), eps=training.eps, fused=True
    )


def optimizer_tensors(
    network: nn.Module, optimizer: torch.optim.Optimizer, own: nn.ParameterDict | None = None
) -> dict[str, torch.Tensor]:
    """Flattens AdamW's state to named tensors: `<parameter>/<exp_avg|exp_avg_sq|step>`."""
    return {
        f"{name}/{slot}": value.detach().cpu().contiguous()
        for name, parameter in named_parameters(network, own)
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    own: nn.ParameterDict | None = None,
) -> None:
    """Puts named tensors back into AdamW's state, in the memory layout of their parameters.

    The fused kernel walks raw memory, so that a moment laid out otherwise than its (channels-last) parameter would be
    applied to the wrong weights.
    """
    parameters = dict(named_parameters(network, own))
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        if (parameter := parameters.get(name)) is not None:
            optimizer.state[parameter][slot] = (
                value.to(parameter.device, copy=True)
                if slot == "step"
                else torch.empty_like(parameter).copy_(value).detach()
            )
