"""The way in which a GPU searches, run on the CPU: the picks are the same, and nothing is asked but the answer."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_al.acquisition.batchbald import batchbald, configurations
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
