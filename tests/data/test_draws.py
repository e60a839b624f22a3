"""What is found out of a sampler, and the sampler of labelled points that is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    DataLoader,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from lightning_al.data.draws import Draws
from tests.support.combinations import one_in
from tests.support.tasks import points

DS = points(30)
SAMPLERS: dict[str, Any] = {
    "all": lambda: RandomSampler(DS),
    "in order": lambda: SequentialSampler(DS),
    "subset": lambda: SubsetRandomSampler(range(20)),
    "subset with repeats": lambda: SubsetRandomSampler([*range(20), *range(5)]),
    "list": lambda: list(range(20)),
    "list with repeats": lambda: [*range(20), 3, 3],
    "many": lambda: RandomSampler(DS, num_samples=50),
    "replacement": lambda: RandomSampler(DS, replacement=True),
    "weights": lambda: WeightedRandomSampler(torch.arange(30.0), 40),
    "weights without replacement": lambda: WeightedRandomSampler(torch.arange(30.0), 40, replacement=False),
    "shares": lambda: DistributedSampler(DS, 2, 1, seed=4),
}


def draws_of(name: str) -> Draws:
    return Draws.of(SAMPLERS[name](), len(DS), "LitData")


def sampler_of(draws: Draws, labelled: list[int], samples: int | None = None, seed: int = 0) -> Sampler[int]:
    return draws.sampler(Subset(DS, labelled), labelled, samples, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", SAMPLERS)
@given(data=st.data())
def test_an_epoch_is_as_long_as_it_says_and_draws_labelled_points(name: str, data: st.DataObject) -> None:
    draws = draws_of(name)
    members = list(range(30)) if draws.members is None else draws.members
    labelled = data.draw(st.lists(st.sampled_from(members), min_size=1, max_size=20, unique=True))
    samples = data.draw(st.none() | st.integers(1, 50))
    sampler = sampler_of(draws, labelled, samples)
    one, other = list(sampler), list(sampler)
    assert len(one) == len(other) == len(sampler)  # type: ignore[arg-type]
    assert set(one) <= set(range(len(labelled)))
    if draws.shared is None:
        assert len(one) == draws.length(labelled, samples)
    if samples and draws.weights is None and draws.shared is None:
        assert len(one) == samples
        assert max(Counter(one).values()) - min(Counter([*one, *range(len(labelled))]).values()) <= 1
    if draws.order != "random" and not samples:
        assert one == other == sorted(one)


@pytest.mark.parametrize("name", one_in(2, SAMPLERS))
def test_workers_and_reading_ahead_change_nothing(name: str) -> None:
    labelled = [4, 1, 9, 3, 12, 7, 5]
    epochs = []
    for workers in (0, 1):
        sampler = sampler_of(draws_of(name), labelled)
        if hasattr(sampler, "ends_in_smaller_batch"):
            sampler.ends_in_smaller_batch = len(labelled) % 3 > 0
        loader = DataLoader(Subset(DS, labelled), 3, sampler=sampler, num_workers=workers)
        epochs.append([[y.tolist() for _, y in islice(loader, len(loader))] for _ in range(2)])
    assert epochs[0] == epochs[1]


def test_weights_are_those_of_the_labelled_points() -> None:
    weights = torch.arange(30.0)
    draws = Draws.of(WeightedRandomSampler(weights, 20_000), 30, "LitData")
    labelled = [29, 1, 10]
    drawn = Counter(sampler_of(draws, labelled))
    for place, index in enumerate(labelled):
        share = float(weights[index]) / 40
        assert abs(drawn[place] / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5


def test_a_sampler_that_shuffles_by_its_epoch_shuffles() -> None:
    class ByEpoch(Sampler[int]):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[int]:
            yield from torch.randperm(30, generator=torch.Generator().manual_seed(self.epoch)).tolist()

    draws = Draws.of(ByEpoch(), 30, "LitData")
    assert (draws.members, draws.order) == (None, "random")


def test_looking_at_a_sampler_leaves_the_global_generators_alone() -> None:
    class Random(Sampler[int]):
        def __iter__(self) -> Iterator[int]:
            yield from torch.randperm(30).tolist()

    before = torch.get_rng_state()
    assert Draws.of(Random(), 30, "LitData").order == "random"
    assert torch.equal(torch.get_rng_state(), before)


def test_a_distributed_sampler_of_a_kind_of_its_own_is_refused() -> None:
    class Own(DistributedSampler[Any]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(self.rank, 30, self.num_replicas))

    with pytest.raises(ValueError, match=r"but Own shares out the points among ranks in its own way\. Leave"):
        Draws.of(Own(DS, 2, 0), 30, "LitData")
