"""A batch divided among processes adds up to the whole one."""

import pytest
import torch
from torch import nn
from torch.utils.data import SequentialSampler

from layershap.training.together import Share, SharedBatches, shared_dropout


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("images", [1, 7, 16, 17])
def test_every_row_is_one_processs_own_and_all_step_alike(count, images):
    by_rank = [list(SharedBatches(SequentialSampler(range(images)), 4, rank, count)) for rank in range(count)]
    assert len({len(batches) for batches in by_rank}) == 1
    for batches in zip(*by_rank, strict=True):
        own = []
        for rank, (size, rows) in enumerate(batches):
            share = Share(rank, count, size)
            assert rows  # a process without rows of its own steps with another's
            own += rows[: share.own]
        assert sorted(own) == list(range(min(own), min(own) + batches[0][0]))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_gradients_of_the_shares_average_to_the_gradient_of_the_mean(count):
    losses = torch.arange(5.0, dtype=torch.float64) ** 2
    parts = [Share(rank, count, 5).mean(Share(rank, count, 5).of(losses)) for rank in range(count)]
    assert torch.stack(parts).mean().item() == pytest.approx(losses.mean().item(), abs=1e-12)


def test_the_shares_of_a_dropout_are_what_one_process_drops():
    values = torch.rand(7, 300) + 1
    network = nn.Sequential(nn.Identity(), nn.Dropout(0.3)).train()
    torch.manual_seed(3)
    whole = network(values)
    assert 0.6 < (whole != 0).float().mean() < 0.8
    for rank in range(2):
        share = Share(rank, 2, len(values))
        with shared_dropout(network, share):
            torch.manual_seed(3)
            assert torch.equal(network(share.of(values)), share.of(whole))
    assert type(network[1]) is nn.Dropout


def test_dropout_rests_in_evaluation_and_comes_back_after_an_error():
    network = nn.Sequential(nn.Dropout(0.9)).eval()
    values = torch.rand(4, 5)
    with shared_dropout(network, Share(0, 2, 8)):
        assert torch.equal(network(values), values)
    with pytest.raises(ZeroDivisionError), shared_dropout(network, Share(0, 2, 8)):
        1 / 0  # noqa: B018
    assert type(network[0]) is nn.Dropout
