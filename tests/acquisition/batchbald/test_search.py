"""The way in which a GPU searches, run on the CPU: the picks are the same, and nothing is asked but the answer."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_al.acquisition.batchbald import batchbald, configurations
from tests import references
from tests.acquisition.test_hard_cases import assert_picks_of_evaluating_everything, problems
from tests.references import random_log_probs

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.", "is_nonzero", "repeat_interleave")
"""Operations whose result a GPU must hand over, in their value or their shape, before the program goes on."""


class Waits(TorchDispatchMode):
    """Count the operations that a GPU would be waited for; a final ``tolist()`` is none on a CPU."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        picks_by_mask = func.name().startswith("aten::index.") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if picks_by_mask or any(name in func.name() for name in WAITING):
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@contextmanager
def as_on_a_gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configurations, "ASKING_DEVICES", set())
        yield


def waits_of(b, **kwargs):
    with Waits() as waits:
        batchbald(random_log_probs(60, 12, 4, seed=0, dtype=torch.float32), b, num_configurations=120, **kwargs)
    return waits.names


def test_nothing_is_asked_of_a_gpu_once_labels_are_drawn():
    with as_on_a_gpu():
        assert waits_of(5) == waits_of(12)


def test_a_cpu_is_asked_again_and_again():
    assert len(waits_of(12)) > len(waits_of(5)) + 7


@settings(max_examples=20)
@given(problem=problems(most_points=24, most_samples=16), M=st.sampled_from([1, 30, 300]))
def test_picks_on_a_gpu_are_those_of_evaluating_everything(problem, M):
    with as_on_a_gpu():
        assert_picks_of_evaluating_everything(problem, M)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 5))])
def test_a_gpu_and_a_cpu_choose_the_same(seed):
    log_probs_N_K_C = random_log_probs(300, 20, 5, seed=seed, dtype=torch.float32)
    on_cpu = batchbald(log_probs_N_K_C, 12, num_configurations=1000)
    with as_on_a_gpu():
        on_gpu = batchbald(log_probs_N_K_C, 12, num_configurations=1000)
    assert on_gpu.positions.equal(on_cpu.positions)
    torch.testing.assert_close(on_gpu.scores, on_cpu.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_that_sum_to_1_only_roughly_hide_no_point(dtype):
    """After a label whose probabilities do not sum to 1, samples are not equally likely, and gains may rise."""

    def two(first_K):
        first_K = torch.tensor(first_K, dtype=torch.float64)
        return torch.stack([first_K, 1 - first_K], -1)

    off = 1e-3
    sums_K = torch.tensor([1 + off, 1 + off, 1 - off, 1 - off], dtype=torch.float64)
    rough = two([0.97, 0.97, 0.03, 0.03]) * sums_K[:, None]
    points = [rough, two([0.8, 0.2, 0.5, 0.5]), *[two([0.5, 0.5, 0.8 + 0.3 * off, 0.2])] * 3]
    log_probs_N_K_C = torch.stack(points).log().to(dtype)
    expected = references.batchbald_evaluating_everything(log_probs_N_K_C, 2, num_configurations=1000)
    assert batchbald(log_probs_N_K_C, 2, num_configurations=1000).positions.tolist() == expected == [0, 1]
