"""BADGE against gradients that are formed, and on pools that other implementations get wrong."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from lightning_al import BADGE, Candidates, badge
from lightning_al.acquisition.badge import BLOCK_ROWS
from tests import references


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tables(N: int, D: int = 6, C: int = 4, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Embeddings and the residuals of predictions, some of which are sure."""
    generator = seeded(seed)
    embeddings_N_D = torch.randn(N, D, generator=generator, dtype=torch.float64)
    probs_N_C = (4 * torch.randn(N, C, generator=generator, dtype=torch.float64)).softmax(1)
    residuals_N_C = probs_N_C - torch.nn.functional.one_hot(probs_N_C.argmax(1), C)
    return embeddings_N_D.to(dtype), residuals_N_C.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_squared_distances_to_the_nearest_pick_before(dtype: torch.dtype) -> None:
    embeddings_N_D, residuals_N_C = tables(30, dtype=dtype)
    selection = badge(embeddings_N_D, residuals_N_C, 30, generator=seeded())
    positions = selection.positions.tolist()
    assert sorted(positions) == list(range(30))
    expected = references.badge_scores(embeddings_N_D, residuals_N_C, positions)
    assert selection.scores.tolist() == pytest.approx(expected, rel=1e-4 if dtype == torch.float32 else 1e-10)
    assert selection.scores.dtype == dtype
    longest = references.gradients(embeddings_N_D, residuals_N_C).square().sum(1).max()
    assert float(selection.scores[0]) == pytest.approx(float(longest))


def test_picks_are_drawn_in_proportion_to_squared_distances() -> None:
    embeddings_N_D, residuals_N_C = tables(5, seed=1)
    gradients_N_G = references.gradients(embeddings_N_D, residuals_N_C)
    first = int(gradients_N_G.square().sum(1).argmax())
    expected_N = (gradients_N_G - gradients_N_G[first]).square().sum(1)
    expected_N = expected_N / expected_N.sum()
    num_draws = 400
    picks = [badge(embeddings_N_D, residuals_N_C, 2, generator=seeded(seed)).positions for seed in range(num_draws)]
    assert {int(pick[0]) for pick in picks} == {first}
    counts = Counter(int(pick[1]) for pick in picks)
    # Each count is within 4 standard deviations of its mean.
    for position, share in enumerate(expected_N.tolist()):
        assert counts[position] == pytest.approx(num_draws * share, abs=4 * (num_draws * share * (1 - share)) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_equal_rows_each_kind_is_picked_before_any_a_second_time(dtype: torch.dtype) -> None:
    """Rounding must not make a copy of a pick look as if it were elsewhere, even beside far longer gradients."""
    embeddings_n_D, residuals_n_C = tables(4, D=40, seed=2, dtype=dtype)
    embeddings_n_D[0] *= 1e4
    copies = torch.arange(4).repeat(BLOCK_ROWS // 2)
    selection = badge(embeddings_n_D[copies], residuals_n_C[copies], 6, generator=seeded())
    assert sorted(copies[selection.positions[:4]].tolist()) == [0, 1, 2, 3]
    assert len(set(selection.positions.tolist())) == 6
    assert selection.scores[4:].tolist() == [0.0, 0.0]
    assert (selection.scores[:4] > 0).all()


@pytest.mark.parametrize(("embedding", "residual"), [(1.0, 0.5), (0.0, 0.5), (1.0, 0.0)])
def test_gradients_that_are_all_equal_are_drawn_uniformly(embedding: float, residual: float) -> None:
    embeddings_N_D, residuals_N_C = torch.full((4, 3), embedding), torch.tensor([[residual, -residual]] * 4)
    batches = [badge(embeddings_N_D, residuals_N_C, 2, generator=seeded(seed)) for seed in range(120)]
    for place in (0, 1):
        counts = Counter(int(batch.positions[place]) for batch in batches)
        assert sorted(counts) == [0, 1, 2, 3]
        assert min(counts.values()) > 12
    assert all(len(set(batch.positions.tolist())) == 2 for batch in batches)
    assert all(batch.scores.isfinite().all() for batch in batches)


def test_close_points_keep_their_distance_in_float32() -> None:
    """A difference of one part in 10,000 is beyond what subtracting squared lengths could tell."""
    embeddings_N_D, residuals_N_C = tables(1, D=50, seed=3, dtype=torch.float32)
    embeddings_N_D, residuals_N_C = embeddings_N_D.repeat(2, 1), residuals_N_C.repeat(2, 1)
    embeddings_N_D[1] *= 1 + 1e-4
    selection = badge(embeddings_N_D, residuals_N_C, 2, generator=seeded())
    expected = references.badge_scores(embeddings_N_D, residuals_N_C, selection.positions.tolist())
    assert selection.positions.tolist() == [1, 0]
    assert selection.scores.tolist() == pytest.approx(expected, rel=1e-2)


def test_one_point_and_no_points() -> None:
    embeddings_N_D, residuals_N_C = tables(1)
    assert badge(embeddings_N_D, residuals_N_C, 3, generator=seeded()).positions.tolist() == [0]
    assert badge(embeddings_N_D[:0], residuals_N_C[:0], 3, generator=seeded()).positions.tolist() == []


def test_half_precision_is_worked_on_in_float32() -> None:
    embeddings_N_D, residuals_N_C = (table.half() for table in tables(12))
    halves = badge(embeddings_N_D, residuals_N_C, 5, generator=seeded())
    floats = badge(embeddings_N_D.float(), residuals_N_C.float(), 5, generator=seeded())
    assert halves.scores.dtype == torch.float32
    assert torch.equal(halves.positions, floats.positions)


def test_the_class_selects_by_the_function_and_reads_no_predictions() -> None:
    embeddings_N_D, residuals_N_C = tables(12)

    def fail() -> Tensor:
        raise AssertionError("it read log-probabilities")

    candidates = Candidates(12, fail, lambda: zip(embeddings_N_D.split(5), residuals_N_C.split(5), strict=True))
    chosen = BADGE().select(candidates, 5, seeded())
    assert torch.equal(chosen.positions, badge(embeddings_N_D, residuals_N_C, 5, generator=seeded()).positions)


def test_wrong_tables_are_refused() -> None:
    embeddings_N_D, residuals_N_C = tables(5)
    with pytest.raises(ValueError, match="expected as many rows of residuals as of embeddings, but got 4 and 5"):
        badge(embeddings_N_D, residuals_N_C[:4], 1, generator=seeded())
    with pytest.raises(ValueError, match=r"expected a table of residuals with two axes, but got shape \[4\]"):
        badge(embeddings_N_D, residuals_N_C[0], 1, generator=seeded())
    with pytest.raises(TypeError, match="`badge` expected a tensor that holds embeddings, but got list"):
        badge(embeddings_N_D.tolist(), residuals_N_C, 1, generator=seeded())  # type: ignore[arg-type]
    for bad in (float("nan"), float("inf"), 1e200):
        embeddings_N_D[3, 1] = bad
        with pytest.raises(ValueError, match=r"expected finite embeddings, .* in 1 rows, the first at position 3"):
            badge(embeddings_N_D, residuals_N_C, 1, generator=seeded())
