"""Seeds: a generator of its own for each purpose, and global ones that go back to where they were."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.run.seeds import OF_PROGRAM, GlobalStates, derive, generator, seeded
from tests.support import programs
from tests.support.tasks import LitMLP, points, trainer

purposes = st.lists(st.integers(0, 50) | st.sampled_from(["fit", "1", "select"]), max_size=3).map(tuple)


def draw() -> tuple[Any, ...]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def states() -> tuple[Any, ...]:
    numpy_state = np.random.get_state()
    return random.getstate(), numpy_state[1].tolist(), numpy_state[2:], torch.get_rng_state().tolist()


@given(st.integers(0, 2**63), purposes)
def test_a_seed_fits_every_generator(seed: int, purpose: tuple[Any, ...]) -> None:
    assert 0 <= derive(seed, *purpose) < 2**63


@given(st.integers(0, 50), purposes, st.integers(0, 50), purposes)
def test_different_purposes_get_different_seeds(
    seed: int, purpose: tuple[Any, ...], other_seed: int, other: tuple[Any, ...]
) -> None:
    same = (seed, purpose) == (other_seed, other)
    assert (derive(seed, *purpose) == derive(other_seed, *other)) == same


def test_the_lowest_32_bits_are_what_a_cpu_generator_of_torch_reads() -> None:
    """As `derive` says; where a release of torch reads more, its words are to follow."""
    seed = derive(0, 1, "fit")
    seeds = seed, seed % 2**32, seed + 1
    one, same, other = (torch.rand(5, generator=torch.Generator().manual_seed(s)) for s in seeds)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert seed != seed % 2**32
    assert random.Random(seed).random() != random.Random(seed % 2**32).random()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_reads_all_bits() -> None:
    seed = derive(0, 1, "fit")
    one, other = (
        torch.rand(5, device="cuda", generator=torch.Generator("cuda").manual_seed(s)) for s in (seed, seed % 2**32)
    )
    assert not torch.equal(one, other)


def test_the_lowest_32_bits_differ_as_often_as_chance_lets_them() -> None:
    purposes = ["fit", "posterior", "test", "select", "dry pass"]
    lowest = [
        derive(seed, number, purpose) % 2**32 for seed in range(20) for number in range(1000) for purpose in purposes
    ]
    n = len(lowest)
    expected = n**2 / 2**33  # pairs that agree, 1.2 of 100,000 seeds; of 12 and more, chance gives 3 in 10^9
    assert n - len(set(lowest)) < expected + 10
    for bit in range(32):
        ones = sum(seed >> bit & 1 for seed in lowest)
        assert abs(ones - n / 2) < 5 * (n / 4) ** 0.5, f"bit {bit}"


@pytest.mark.parametrize("num_samples", [50, 1000])
def test_posterior_samples_of_a_round_have_seeds_of_their_own(num_samples: int) -> None:
    for number in range(5):
        seeds = [derive(derive(0, number, "posterior"), "noise", 0, k) for k in range(num_samples)]
        assert len({seed % 2**32 for seed in seeds}) == num_samples


def test_numbers_of_numpy_and_torch_derive_the_same_seed() -> None:
    plain = derive(3, 5, "fit")
    assert derive(np.int64(3), np.int64(5), "fit") == plain  # type: ignore[arg-type]
    assert derive(torch.tensor(3), torch.tensor(5), "fit") == plain  # type: ignore[arg-type]


def test_a_seed_is_the_same_in_another_process() -> None:
    code = "from lightning_al.run.seeds import derive; print(derive(1, 2, 'fit'))"
    assert int(programs.run("-c", code).stdout) == derive(1, 2, "fit")


def test_generators_of_one_purpose_agree_and_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (torch.rand(5, generator=generator(0, *purpose)) for purpose in [("a", 1), ("a", 1), ("a", 2)])
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_draws_the_same_from_all_three_global_generators() -> None:
    with seeded(derive(0, "fit")):
        first = draw()
    with seeded(derive(0, "fit")):
        again = draw()
    with seeded(derive(1, "fit")):
        other = draw()
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_seeded_seeds_torch_as_its_own_function_does() -> None:
    with seeded(0):
        torch.manual_seed(2**62 + 5)
        expected = torch.rand(3)
        with seeded(2**62 + 5):
            assert torch.equal(torch.rand(3), expected)


def test_seeded_puts_the_global_generators_back() -> None:
    before = states()
    with seeded(1):
        draw()
        with seeded(2):
            draw()
    assert states() == before


def test_seeded_puts_the_global_generators_back_after_an_exception() -> None:
    before = states()
    with pytest.raises(KeyError), seeded(1):  # noqa: PT012
        draw()
        raise KeyError
    assert states() == before


def test_an_inner_seed_does_not_disturb_the_outer_one() -> None:
    with seeded(1):
        draw()
        undisturbed = draw()
    with seeded(1):
        draw()
        with seeded(2):
            draw()
        assert draw() == undisturbed


class TestSeedOfTheProgram:
    @pytest.mark.parametrize("before", [True, False])
    def test_is_that_of_seed_everything_wherever_it_is_called(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
    ) -> None:
        monkeypatch.setenv(OF_PROGRAM, "3")  # which the end of the test puts back
        given = _run(tmp_path / "given", lambda: None, seed=8)
        states = GlobalStates()
        followed = _run(tmp_path / "followed", lambda: pl.seed_everything(8), is_before=before)
        states.put_back()
        assert followed == given

    def test_is_0_without_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(OF_PROGRAM, raising=False)
        assert _run(tmp_path / "none", lambda: None) == _run(tmp_path / "0", lambda: None, seed=0)

    def test_that_is_no_number_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(OF_PROGRAM, "lucky")
        active = ActiveLearning("random", query_size=4)
        with pytest.raises(ValueError, match=r"should hold a seed, as .* but holds 'lucky'. Pass `seed=`, or unset it"):
            _ = active.seed

    def test_stays_for_the_whole_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(OF_PROGRAM, "3")
        active = ActiveLearning("random", query_size=4, budget=12)
        assert active.seed == 3
        monkeypatch.setenv(OF_PROGRAM, "4")
        assert active.seed == 3
        active.seed = 5
        assert active.seed == 5


def _run(folder: Path, seed_everything: Callable[[], object], *, is_before: bool = True, **seed: int) -> list[Any]:
    """Return what a run asked, and the test metrics of its rounds."""
    if is_before:
        seed_everything()
    data = ActiveDataModule(points(40), test=points(20, seed=1), initial_size=4, **seed)
    active = ActiveLearning("bald", query_size=4, max_rounds=2, posterior=MCDropout(4), **seed)
    with seeded(7):
        module = LitMLP()
    if not is_before:
        seed_everything()
    trainer(folder, callbacks=[active]).fit(module, datamodule=data)
    return [(data.pool.initial, round.indices, round.metrics) for round in active.history]
