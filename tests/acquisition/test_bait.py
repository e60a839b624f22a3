"""BAIT against dense inverses of formed Fisher matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_al import BAIT, Candidates, Points, bait
from lightning_al.acquisition.fisher import factors
from tests import references


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tables(
    N: int, D: int = 3, C: int = 3, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Embeddings and probabilities."""
    generator = seeded(seed)
    embeddings_N_D = 2 * torch.randn(N, D, generator=generator, dtype=torch.float64)
    probs_N_C = (2 * torch.randn(N, C, generator=generator, dtype=torch.float64)).softmax(1)
    return embeddings_N_D.to(dtype), probs_N_C.to(dtype)


@pytest.mark.parametrize("num_labelled", [0, 4])
@pytest.mark.parametrize("b", [1, 3, 5, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_are_those_of_dense_inverses(b: int, num_labelled: int, dtype: torch.dtype) -> None:
    """With b = 5 and 9 of 9 points, there are fewer than 2b to add."""
    pool, labelled = tables(9, dtype=dtype), tables(num_labelled, seed=1, dtype=dtype)
    selection = bait(*pool, b, labelled=labelled, prior_precision=0.5, generator=seeded())
    fishers_n = references.fishers(*labelled) if num_labelled else torch.zeros(0, 9, 9, dtype=torch.float64)
    positions, gains = references.bait(references.fishers(*pool), fishers_n, b, 0.5)
    assert selection.positions.tolist() == positions
    assert selection.scores.tolist() == pytest.approx(gains, rel=1e-8 if dtype == torch.float64 else 1e-3)


def test_fewer_classes_keep_the_block_of_their_weights() -> None:
    embeddings_N_D, probs_N_C = tables(8, C=4, seed=2)
    probs_N_C[:, 2] *= 1e-3
    probs_N_C /= probs_N_C.sum(1, keepdim=True)
    selection = bait(embeddings_N_D, probs_N_C, 3, num_classes=3, generator=seeded())
    kept = [c * 3 + d for c in (0, 1, 3) for d in range(3)]
    blocks_N = references.fishers(embeddings_N_D, probs_N_C)[:, kept][:, :, kept]
    positions, gains = references.bait(blocks_N, blocks_N[:0], 3, 1.0)
    assert selection.positions.tolist() == positions
    assert selection.scores.tolist() == pytest.approx(gains)


@pytest.mark.parametrize("probs", [[0.2, 0.3, 0.5], [0.2, 0.3, 0.1], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
def test_factors_are_roots_of_the_covariance_of_a_label(probs: list[float]) -> None:
    probs_C = torch.tensor(probs, dtype=torch.float64)
    factors_C_C = factors(probs_C[None])[0]
    torch.testing.assert_close(factors_C_C @ factors_C_C.T, torch.diag(probs_C) - torch.outer(probs_C, probs_C))


@pytest.mark.parametrize("b", [1, 4, 12, 20])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_equal_points_are_each_selected_once(b: int, scale: float) -> None:
    embeddings_N_D, probs_N_C = (table[:1].repeat(12, 1) for table in tables(1, dtype=torch.float32))
    selection = bait(scale * embeddings_N_D, probs_N_C, b, generator=seeded())
    assert len(set(selection.positions.tolist())) == min(b, 12)
    assert selection.scores.isfinite().all()


def test_equal_points_are_told_apart_by_chance() -> None:
    batches = [bait(torch.ones(4, 2), torch.full((4, 2), 0.5), 1, generator=seeded(seed)) for seed in range(30)]
    assert {int(batch.positions) for batch in batches} == {0, 1, 2, 3}


def test_one_point_no_points_and_certain_points() -> None:
    embeddings_N_D, _ = tables(5, dtype=torch.float16)
    certain_N_C = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3).half()
    assert bait(embeddings_N_D[:1], certain_N_C[:1], 2, generator=seeded()).positions.tolist() == [0]
    assert bait(embeddings_N_D[:0], certain_N_C[:0], 2, generator=seeded()).positions.tolist() == []
    assert bait(embeddings_N_D, certain_N_C, 2, generator=seeded()).scores.tolist() == [0.0, 0.0]


def test_the_class_reads_probabilities_from_residuals() -> None:
    (embeddings_N_D, probs_N_C), (embeddings_n_D, probs_n_C) = tables(8), tables(3, seed=1)
    probs_N_C[5] = torch.tensor([0.0, 1.0, 0.0])

    def gradients(embeddings: Tensor, probs: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(embeddings, probs - torch.nn.functional.one_hot(probs.argmax(1), 3))]

    def fail() -> Tensor:
        raise AssertionError("it read log-probabilities")

    labelled = Points(3, fail, lambda: gradients(embeddings_n_D, probs_n_C))
    candidates = Candidates(8, fail, lambda: gradients(embeddings_N_D, probs_N_C), labelled=labelled)
    chosen = BAIT().select(candidates, 3, seeded())
    expected = bait(embeddings_N_D, probs_N_C, 3, labelled=(embeddings_n_D, probs_n_C), generator=seeded())
    assert torch.equal(chosen.positions, expected.positions)
    torch.testing.assert_close(chosen.scores, expected.scores)


def test_what_does_not_fit_is_refused() -> None:
    embeddings_N_D, probs_N_C = torch.ones(10, 512), torch.full((10, 1000), 1e-3)
    with pytest.raises(ValueError, match=r"`BAIT` needs about [\d,]+ bytes for 10 points, 1000 classes"):
        bait(embeddings_N_D, probs_N_C, 1, generator=seeded())
    assert bait(embeddings_N_D[:, :4], probs_N_C, 1, num_classes=3, generator=seeded()).positions.shape == (1,)


def test_wrong_tables_and_options_are_refused() -> None:
    embeddings_N_D, probs_N_C = tables(4)
    with pytest.raises(ValueError, match="expected as many rows of probabilities as of embeddings, but got 3 and 4"):
        bait(embeddings_N_D, probs_N_C[:3], 1, generator=seeded())
    with pytest.raises(ValueError, match="`bait` expected probabilities, which are at least 0 and sum to 1, but got"):
        bait(embeddings_N_D, probs_N_C.log(), 1, generator=seeded())
    with pytest.raises(ValueError, match="expected labelled points with 3 embedding dimensions and 3 classes"):
        bait(embeddings_N_D, probs_N_C, 1, labelled=tables(2, D=2), generator=seeded())
    for wrong in (0, -1.0, float("nan"), True, "much"):
        with pytest.raises(ValueError, match="`BAIT` expected a `prior_precision` above 0, but got"):
            BAIT(prior_precision=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`BAIT` needs `num_classes` of at least 1, but got 0"):
        BAIT(num_classes=0)
    with pytest.raises(ValueError, match="`max_memory` expected a number of bytes"):
        BAIT(max_memory="much")


@pytest.mark.parametrize("scale", [300.0, 1e3])
def test_long_embeddings_in_single_precision(scale: float) -> None:
    """They make V^T M^-1 V large, and adding a point makes it small."""
    embeddings_N_D, probs_N_C = tables(30, D=4, C=4, dtype=torch.float32)
    pool = scale * embeddings_N_D, probs_N_C
    selection = bait(*pool, 5, generator=seeded())
    positions, gains = references.bait(references.fishers(*pool), torch.zeros(0, 16, 16, dtype=torch.float64), 5, 1.0)
    assert selection.positions.tolist() == positions
    assert selection.scores.tolist() == pytest.approx(gains, rel=1e-3)
