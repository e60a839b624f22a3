"""Numbers by position: a function of the seed and the index alone, against a reference of plain whole numbers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lightning_al.posterior.mc_dropout.counter_based import normal_at, uniform_at

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def slow_uniform(seed: int, index: tuple[int, ...]) -> float:
    """Hash an index by splitmix64's steps, in whole numbers that know no overflow."""
    size = 2**64
    state = seed % size
    for place in index:
        state = (state + (place + 1) * 0x9E3779B97F4A7C15) % size
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % size
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % size
        state ^= state >> 31
    return (state >> 40) / 2**24


@given(seed=st.integers(0, 2**63 - 1), shape=shapes)
def test_numbers_are_those_of_the_reference(seed: int, shape: tuple[int, ...]) -> None:
    numbers = uniform_at(seed, shape)
    assert numbers.dtype == torch.float32
    assert tuple(numbers.shape) == shape
    for index in itertools.product(*map(range, shape)):
        assert numbers[index].item() == slow_uniform(seed, index)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**63 - 1), shape=shapes, more=st.lists(st.integers(0, 4), min_size=4, max_size=4))
@pytest.mark.parametrize("draw", [uniform_at, normal_at])
def test_the_size_of_the_tensor_does_not_matter(draw, seed, shape, more) -> None:  # type: ignore[no-untyped-def]
    larger = tuple(length + extra for length, extra in zip(shape, more, strict=False))
    assert torch.equal(draw(seed, larger)[tuple(map(slice, shape))], draw(seed, shape))


@pytest.mark.parametrize("shape", [(40_000,), (200, 200), (40_000, 1), (1, 40_000), (20, 50, 40), (8, 70, 70)])
@pytest.mark.parametrize("seed", [0, 1, 2**62 + 5])
def test_numbers_are_uniform_and_normal(shape: tuple[int, ...], seed: int) -> None:
    uniform, normal = uniform_at(seed, shape).flatten(), normal_at(seed, shape).flatten()
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert normal.isfinite().all()
    assert stats.kstest(uniform.double().numpy(), "uniform").pvalue > 1e-4
    assert stats.kstest(normal.double().numpy(), "norm").pvalue > 1e-4
    # Of each bit, as many are set as not.
    bits = (uniform.double() * 2**24).long()
    for place in range(24):
        share = ((bits >> place) & 1).double().mean().item()
        assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(len(bits))


def test_rows_columns_and_seeds_are_independent() -> None:
    one, other = uniform_at(3, (60, 4000)), uniform_at(4, (60, 4000))
    rows = torch.corrcoef(torch.cat([one, other]).double())
    columns = torch.corrcoef(uniform_at(3, (4000, 120)).T.double())
    for correlations in (rows, columns):
        off_diagonal = correlations - torch.eye(120)
        assert off_diagonal.abs().max() < 5.5 / math.sqrt(4000)


def test_neighbours_are_independent_along_every_axis() -> None:
    numbers = uniform_at(5, (70, 70, 70)).double() - 0.5
    for axis, gap in itertools.product(range(3), (1, 2, 7)):
        length = numbers.shape[axis] - gap
        products = numbers.narrow(axis, 0, length) * numbers.narrow(axis, gap, length)
        assert abs(products.mean()) < 5 * (1 / 12) / math.sqrt(products.numel())


def test_pairs_of_neighbours_fill_the_square() -> None:
    numbers = uniform_at(6, (500, 401)).double()
    cells = (numbers[:, :-1] * 16).long() * 16 + (numbers[:, 1:] * 16).long()
    counts = torch.bincount(cells.flatten(), minlength=256)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_an_exchange_of_two_indices_changes_the_number() -> None:
    numbers = uniform_at(7, (100, 100))
    assert (numbers == numbers.T).sum() < 100 + 5
