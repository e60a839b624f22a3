import math

import pytest
import torch

from lightning_al.acquisition.bald import BALD, bald
from lightning_al.points import Candidates
from tests import references
from tests.references import random_log_probs


@pytest.mark.parametrize(("K", "C"), [(2, 2), (5, 3), (20, 10)])
def test_equals_the_definition(K, C):
    log_probs_N_K_C = random_log_probs(15, K, C, seed=0)
    torch.testing.assert_close(bald(log_probs_N_K_C).tolist(), references.bald(log_probs_N_K_C), rtol=0, atol=1e-12)


def test_exact_zeros_count_as_zero_entropy():
    p = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    torch.testing.assert_close(bald(p.log()), torch.tensor([math.log(2), 0.0]))


def test_half_precision_is_worked_on_in_float32():
    log_probs_N_K_C = random_log_probs(10, 5, 4, seed=1)
    scores_N = bald(log_probs_N_K_C.half())
    assert scores_N.dtype == torch.float32
    torch.testing.assert_close(scores_N.double(), bald(log_probs_N_K_C), rtol=0, atol=5e-3)


def test_the_class_scores_by_the_function():
    log_probs_N_K_C = random_log_probs(10, 5, 4, seed=2)
    assert BALD().score(Candidates(10, log_probs_N_K_C), torch.Generator()).equal(bald(log_probs_N_K_C))


def test_one_sample_raises():
    with pytest.raises(ValueError, match=r"`bald` compares posterior samples .* at least 2 .* got 1.*`num_samples`"):
        bald(torch.zeros(3, 1, 1))


def test_a_table_of_other_shape_raises():
    with pytest.raises(ValueError, match=r"`bald` expected .* shape \[N, K, C\], but got \[3, 2\]"):
        bald(torch.zeros(3, 2))


@pytest.mark.parametrize("thing", [None, [[[-0.5, -1.0]]], "log_probs"])
def test_what_is_no_tensor_raises(thing):
    kind = type(thing).__name__
    with pytest.raises(TypeError, match=rf"`bald` expected log-probabilities as a tensor, but got {kind}\. Pass"):
        bald(thing)


def test_logits_raise():
    with pytest.raises(ValueError, match=r"at most 0, but got 3.*log_softmax"):
        bald(torch.full((3, 2, 2), 3.0))
