"""How far the information of drawn configurations lies off, as the documentation of `num_configurations` says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_al.acquisition.batchbald.configurations import Configurations
from tests.references import random_log_probs

SAMPLES, CLASSES, POINTS = 50, 3, 9


def information(log_probs_S_K_C: Tensor, limit: int, seed: int = 0) -> float:
    """In nats, as far as it goes exactly: test_configurations.py holds enumeration against its definition."""
    generator = torch.Generator().manual_seed(seed)
    configurations = Configurations.before_any_label(SAMPLES)
    for log_probs_K_C in log_probs_S_K_C:
        configurations = configurations.observe(log_probs_K_C.exp(), limit=limit, generator=generator)
    assert configurations.sampled == (limit < CLASSES**POINTS)
    return configurations.information.item()


def bias(limit: int, *, spread: float, draws: int) -> tuple[float, float]:
    """The mean error over so many draws, and the standard error of that."""
    log_probs_S_K_C = random_log_probs(POINTS, SAMPLES, CLASSES, seed=0, spread=spread)
    truth = information(log_probs_S_K_C, CLASSES**POINTS)
    errors = torch.tensor([information(log_probs_S_K_C, limit, seed) for seed in range(draws)]) - truth
    return errors.mean().item(), errors.std().item() / math.sqrt(draws)


def test_few_configurations_a_sample_make_the_information_too_low() -> None:
    mean, standard_error = bias(200, spread=1.0, draws=25)
    assert -0.035 - 2 * standard_error < mean < -3 * standard_error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "lowest", "highest"), [(200, -0.035, -0.03), (500, -0.008, -0.005), (1_000, -0.004, 0.0), (10_000, 0, 0)]
)
def test_the_bias_is_as_documented(limit: int, lowest: float, highest: float) -> None:
    mean, standard_error = bias(limit, spread=1.0, draws=150 if limit < 10_000 else 20)
    assert lowest - 2 * standard_error < mean < highest + 2 * standard_error
    assert standard_error < 0.003
