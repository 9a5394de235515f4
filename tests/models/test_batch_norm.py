"""BatchNorm by groups: equal to the ordinary one where there is one group, statistics once a step."""

from __future__ import annotations

import copy

import torch
from torch import nn

from benchmark.models.batch_norm import GroupBatchNorm2d, commit, group_norms, set_collect, statistics, use_group_norms


def both(channels: int = 3) -> tuple[nn.BatchNorm2d, GroupBatchNorm2d]:
    ordinary = nn.BatchNorm2d(channels)
    with torch.no_grad():
        ordinary.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        ordinary.bias.copy_(torch.tensor([0.1, 0.0, -0.2]))
    grouped = nn.Sequential(copy.deepcopy(ordinary))
    use_group_norms(grouped)
    (norm,) = group_norms(grouped)
    return ordinary, norm


def batch(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1


def test_one_group_is_ordinary_batch_norm() -> None:
    ordinary, grouped = both()
    for shift in range(3):
        expected, found = ordinary(batch() + shift), grouped(batch() + shift)
        commit([grouped], statistics([grouped]))
        assert torch.equal(found, expected)
    assert torch.allclose(grouped.running_mean, ordinary.running_mean, atol=1e-6)
    assert torch.allclose(grouped.running_var, ordinary.running_var, atol=1e-6)
    assert int(grouped.num_batches_tracked) == int(ordinary.num_batches_tracked) == 3
    assert torch.equal(grouped.eval()(batch()), grouped.eval()(batch()))
    assert torch.allclose(grouped.eval()(batch()), ordinary.eval()(batch()), atol=1e-6)


def test_each_group_is_normalised_by_itself() -> None:
    ordinary, grouped = both()
    grouped.group = 4
    found = grouped(batch())
    expected = torch.cat([copy.deepcopy(ordinary)(part) for part in batch().split(4)])
    assert torch.equal(found, expected)
    assert not torch.allclose(found, ordinary(batch()), atol=1e-3)


def test_running_statistics_move_once_from_the_mean_of_all_groups() -> None:
    _, grouped = both()
    grouped.group = 4
    first, second = batch().split(4)
    grouped(batch())
    assert torch.equal(grouped.running_mean, torch.zeros(3))  # nothing moves before the step's end
    commit([grouped], statistics([grouped]))
    mean = (first.mean((0, 2, 3)) + second.mean((0, 2, 3))) / 2
    variance = (first.var((0, 2, 3)) + second.var((0, 2, 3))) / 2
    assert torch.allclose(grouped.running_mean, 0.1 * mean, atol=1e-6)
    assert torch.allclose(grouped.running_var, 0.9 + 0.1 * variance, atol=1e-5)
    assert int(grouped.num_batches_tracked) == 1
    commit([grouped], statistics([grouped]))  # nothing new was seen
    assert int(grouped.num_batches_tracked) == 1


def test_micro_batches_of_whole_groups_give_the_same() -> None:
    whole, parts = both()[1], both()[1]
    whole.group = parts.group = 2
    together = whole(batch())
    apart = torch.cat([parts(part) for part in batch().split(4)])
    commit([whole], statistics([whole]))
    commit([parts], statistics([parts]))
    assert torch.allclose(together, apart, atol=1e-6)
    assert torch.allclose(whole.running_mean, parts.running_mean, atol=1e-7)
    assert torch.allclose(whole.running_var, parts.running_var, atol=1e-6)


def test_a_second_forward_for_gradients_leaves_no_trace() -> None:
    _, grouped = both()
    grouped.group = 4
    first = grouped(batch())
    set_collect([grouped], False)
    second = grouped(batch())
    set_collect([grouped], True)
    assert torch.allclose(first, second, atol=1e-6)
    assert len(grouped.seen) == 2
    commit([grouped], statistics([grouped]))
    assert grouped.seen == ()


def test_gradients_flow_through_groups() -> None:
    _, grouped = both()
    grouped.group = 4
    images = batch().requires_grad_()
    grouped(images).square().sum().backward()
    assert grouped.weight.grad is not None
    assert images.grad is not None
    # the mean of each group is taken out, so its gradient sums to nothing
    assert float(images.grad[:4].sum((0, 2, 3)).abs().max()) < 1e-4


def test_checkpoints_are_exchangeable() -> None:
    ordinary, grouped = both()
    assert grouped.state_dict().keys() == ordinary.state_dict().keys()
    ordinary(batch())
    grouped.load_state_dict(ordinary.state_dict())
    assert torch.equal(grouped.eval()(batch()), ordinary.eval()(batch()))
