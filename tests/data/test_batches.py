"""Batches for batch norm: torch's own but for a point that would be alone in the last one."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, Subset

from lightning_al.data.batches import Batches
from tests.support.tasks import points


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7, 8, 40])
def test_every_size_has_torch_s_batches_but_for_a_point_alone(batch_size: int, drop_last: bool) -> None:
    for size in range(1, 41):
        order = torch.randperm(size).tolist()
        usual = list(BatchSampler(order, batch_size, drop_last))
        made = Batches(order, batch_size, drop_last)
        batches = list(made)
        assert len(made) == len(batches)
        assert list(chain(*batches)) == list(chain(*usual))
        if size == 1 or batch_size == 1 or drop_last or size % batch_size != 1:
            assert batches == usual
            continue
        assert min(map(len, batches)) >= 2
        *before, last, alone = usual
        if batch_size == 2:
            assert batches == [*before, last + alone]
        else:
            assert batches == [*before, last[:-1], last[-1:] + alone]
            assert max(map(len, batches)) <= batch_size


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_load_the_same_batches(workers: int) -> None:
    ds = Subset(points(40), range(17))
    loader = DataLoader(ds, batch_sampler=Batches(SequentialSampler(ds), 8, False), num_workers=workers)
    for _ in range(2):
        batches = list(loader)
        assert [len(y) for _, y in batches] == [8, 7, 2]
        assert torch.equal(torch.cat([x for x, _ in batches]), points(40).tensors[0][:17])
