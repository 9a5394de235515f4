"""InverTune's third step: stages and neurons that a trigger excites, and a tuning that calms them.

Section of arXiv 2506.12411; what departs from it is said in `repair`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.types import Model, RepairContext

if TYPE_CHECKING:
    import torch

Activations = Mapping[str, "torch.Tensor"]
LAST_RATE = 1e-7  # of the released cosine


class Moving(NamedTuple):
    """A parameter that is tuned, which of its rows move (None: all), and where they started."""

    parameter: Any
    rows: torch.Tensor | None
    start: torch.Tensor


def critical_stages(impacts: Mapping[str, float], *, count: int | None) -> list[str]:
    """Names of the `count` largest; None: those above mean + one standard deviation, at least the largest."""
    ranked = sorted(impacts, key=lambda name: -impacts[name])
    if count is not None:
        return ranked[:count]
    mean = sum(impacts.values()) / len(impacts)
    spread = math.sqrt(sum((value - mean) ** 2 for value in impacts.values()) / len(impacts))
    return [name for name in ranked if impacts[name] > mean + spread] or ranked[:1]


def critical_neurons(change: torch.Tensor) -> torch.Tensor:
    """bool, of the shape of |change|: the upper of two clusters on the line (k-means to its optimum)."""
    import torch

    values = change.flatten().double().sort().values
    count = torch.arange(1, len(values), dtype=torch.float64, device=values.device)
    low = values.cumsum(0)[:-1]
    high = values.sum() - low
    # least squares within two runs of sorted values is greatest weighted squared mean between them
    cut = int((low**2 / count + high**2 / (len(values) - count)).argmax())
    return change > values[cut]


def critical(clean: Activations, triggered: Activations, *, num_stages: int | None) -> dict[str, torch.Tensor]:
    """Masks of the critical neurons, without the batch axis, by name of the critical stages."""
    change = {name: triggered[name].mean(0) - before.mean(0) for name, before in clean.items()}
    impacts = {name: float(change[name].norm() / clean[name].mean(0).norm()) for name in clean}
    return {name: critical_neurons(change[name].abs()) for name in critical_stages(impacts, count=num_stages)}


def moving(model: Model, neurons: Activations) -> list[Moving]:
    """Parameters of the image tower, and their rows, that lead to critical neurons; without any: all parameters."""
    tower = model.visual
    if not neurons:
        return [Moving(parameter, None, parameter.detach().clone()) for parameter in tower.parameters()]
    found = []
    for name, where in neurons.items():
        channels = where.flatten(1).any(1) if where.ndim == 3 else where.any(0)
        prefix = name.replace("block", "transformer.resblocks.") + "."
        for key, parameter in tower.named_parameters():
            if key.startswith(prefix) and len(parameter) == len(channels):
                found.append(Moving(parameter, channels, parameter.detach().clone()))
    return found


def to_clean_values(now: Activations, clean: Activations, neurons: Activations) -> torch.Tensor | float:
    """As published: mean squared error between triggered images' neurons now and clean images' before."""
    from torch.nn import functional

    found = {name: where for name, where in neurons.items() if bool(where.any())}
    return sum(functional.mse_loss(now[name][:, where], clean[name][:, where]) for name, where in found.items())


def between_means(now: Activations, clean: Activations, neurons: Activations) -> torch.Tensor | float:
    """As released: relative distance of the batch means of both, as they are now."""
    means = ((clean[name].mean(0)[where], now[name].mean(0)[where]) for name, where in neurons.items())
    return sum((b - a).norm() / a.norm().clamp_min(1e-12) for a, b in means)


def released_rate(rate: float, epoch: int, epochs: int) -> float:
    """A cosine from `rate` that is half as long as the training, so that it climbs again."""
    return LAST_RATE + (rate - LAST_RATE) * (1 + math.cos(2 * math.pi * epoch / epochs)) / 2


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, tuned: list[Moving]) -> None:
    """One step with the gradient clipped at 1; rows that are not critical rest, weight decay included."""
    import torch

    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([part.parameter for part in tuned], 1.0)
    optimizer.step()
    with torch.no_grad():
        for part in tuned:
            if part.rows is not None:
                part.parameter[~part.rows] = part.start[~part.rows]


def tuned(
    model: Model,
    clean: torch.Tensor,
    triggered: torch.Tensor,
    *,
    released: bool,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    preserve_weight: float,
    ctx: RepairContext,
) -> Model:
    """A copy whose critical neurons no longer tell (B, 3, H, W) triggered from clean images; reports ten times."""
    import torch

    copy = model.clone().eval()
    with torch.no_grad():
        wanted, at_clean = ctx.encode_images(copy, clean), ctx.activations(copy, clean)
        neurons = critical(at_clean, ctx.activations(copy, triggered), num_stages=3 if released else None)
    ctx.note(stages=", ".join(neurons), neurons=sum(int(where.sum()) for where in neurons.values()))
    parts = moving(copy, {} if released else neurons)
    optimizer = torch.optim.AdamW([part.parameter for part in parts], lr=learning_rate, weight_decay=weight_decay)
    for epoch in range(epochs):
        rate = released_rate(learning_rate, epoch, epochs) if released else learning_rate
        optimizer.param_groups[0]["lr"] = rate
        now = ctx.activations(copy, triggered)
        aligned = (
            between_means(now, ctx.activations(copy, clean), neurons)
            if released
            else to_clean_values(now, at_clean, neurons)
        )
        loss = aligned + preserve_weight * (ctx.encode_images(copy, clean) - wanted).norm()
        descend(optimizer, loss, parts)
        if (epoch + 1) % max(1, epochs // 10) == 0 or epoch + 1 == epochs:
            ctx.report(epoch + 1, copy, training_loss=float(loss.detach()), learning_rate=rate)
    return copy
