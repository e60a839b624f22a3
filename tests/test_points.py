"""Candidates as a table, as a function and as a stream: the same numbers, and wrong streams refused."""

import weakref

import pytest
import torch

from lightning_al.acquisition import BALD, available, create
from lightning_al.points import Candidates, Points
from tests.references import random_log_probs
from tests.support.pools import pool

N, K, C = 23, 5, 4


def stream(log_probs_N_K_C, chunk_size):
    return Candidates.stream(len(log_probs_N_K_C), lambda: log_probs_N_K_C.split(chunk_size))


@pytest.mark.parametrize("chunk_size", [1, 7, N, 100])
@pytest.mark.parametrize("name", available())
def test_a_stream_gives_the_same_selection(name, chunk_size):
    log_probs_N_K_C = random_log_probs(N, K, C, seed=0)
    candidates = pool(log_probs_N_K_C, chunk_size=chunk_size)
    chosen = create(name).select(candidates, 6, torch.Generator().manual_seed(1))
    expected = create(name).select(pool(log_probs_N_K_C), 6, torch.Generator().manual_seed(1))
    assert chosen.positions.equal(expected.positions)
    torch.testing.assert_close(chosen.scores, expected.scores)


def test_a_stream_is_joined_once_and_then_held():
    passes = []
    log_probs_N_K_C = random_log_probs(N, K, C, seed=1)
    candidates = Candidates.stream(N, lambda: passes.append(1) or log_probs_N_K_C.split(4))
    assert candidates.is_stream
    assert candidates.log_probs_N_K_C.equal(log_probs_N_K_C)
    assert [len(chunk) for chunk in candidates.chunks()] == [N]
    assert len(passes) == 1
    assert not candidates.is_stream


@pytest.mark.parametrize("name", ["bald", "entropy", "margin", "least_confidence", "variation_ratio"])
def test_scores_hold_no_more_than_a_chunk(name):
    alive = []

    def chunks():
        for chunk in random_log_probs(N, K, C, seed=2).split(4):
            copy = chunk.clone()
            alive.append(weakref.ref(copy))
            yield copy
            del copy
            assert sum(reference() is not None for reference in alive) <= 2

    assert create(name).score(Candidates.stream(N, chunks), torch.Generator()).shape == (N,)
    assert len(alive) == 6


def test_nan_in_a_later_chunk_is_named_by_its_position():
    log_probs_N_K_C = random_log_probs(N, K, C, seed=3)
    log_probs_N_K_C[17] = torch.nan
    with pytest.raises(ValueError, match="the first at position 17"):
        BALD().score(stream(log_probs_N_K_C, 5), torch.Generator())


def test_nothing_is_scored_of_an_empty_stream():
    assert BALD().score(Candidates.stream(0, list), torch.Generator()).shape == (0,)


def test_a_stream_that_ends_early_or_late_raises():
    chunks = [torch.full((4, 2, 2), 0.5).log()] * 2
    with pytest.raises(ValueError, match=r"expected 9 points in all, but the pass ended after 8.*not an iterator"):
        BALD().score(Candidates.stream(9, lambda: chunks), torch.Generator())
    with pytest.raises(ValueError, match=r"with 7 points in all, but got one of \[4, 2, 2\] that ends at 8"):
        BALD().score(Candidates.stream(7, lambda: chunks), torch.Generator())
    used_up = iter(chunks)
    candidates = Candidates.stream(8, lambda: used_up)
    BALD().score(candidates, torch.Generator())
    with pytest.raises(ValueError, match="ended after 0"):
        BALD().score(candidates, torch.Generator())


def test_a_table_of_another_size_raises():
    with pytest.raises(ValueError, match=r"shape \[3, K, C\], but got \[2, 5, 4\]"):
        _ = Candidates(3, torch.zeros(2, 5, 4)).log_probs_N_K_C


def last_layer(passes, n=N):
    embeddings_N_D, residuals_N_C = torch.arange(2.0 * n).view(n, 2), -torch.arange(3.0 * n).view(n, 3)

    def chunks():
        passes.append(1)
        return zip(embeddings_N_D.split(4), residuals_N_C.split(4), strict=True)

    return embeddings_N_D, residuals_N_C, chunks


def test_embeddings_are_read_once_for_whatever_asks():
    passes = []
    embeddings_N_D, residuals_N_C, chunks = last_layer(passes)
    candidates = Candidates.stream(N, list, chunks)
    assert not passes
    assert candidates.embeddings_N_D.equal(embeddings_N_D)
    assert candidates.residuals_N_C.equal(residuals_N_C)
    assert candidates.embeddings_N_D is candidates.embeddings_N_D
    assert len(passes) == 1
    first, second, *_ = candidates.last_layer_chunks()
    assert first[0].equal(embeddings_N_D[:4])
    assert second[1].equal(residuals_N_C[4:8])
    assert len(passes) == 2


def test_embeddings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="reads embeddings, but these points have none"):
        _ = Candidates(2, torch.zeros(2, 1, 2)).embeddings_N_D
    for n, got in ((N - 1, N - 1), (N + 1, "more")):
        with pytest.raises(ValueError, match=f"embeddings of {N} points, but the pass had {got}"):
            _ = Candidates.stream(N, list, last_layer([], n)[2]).residuals_N_C
    only = Candidates(2, torch.zeros(2, 1, 2), lambda: [(torch.eye(2),)])
    assert only.at([1]).embeddings_N_D.tolist() == [[0, 1]]
    with pytest.raises(ValueError, match=r"reads residuals, but these points have only embeddings. Set its `tasks`"):
        _ = only.residuals_N_C
    ragged = [(torch.zeros(1, 2), torch.zeros(1, 3)), (torch.zeros(1, 4), torch.zeros(1, 3))]
    with pytest.raises(ValueError, match=r"one size for all points, but got 2 numbers for some and 4.*`LastLayer"):
        _ = Candidates.stream(2, list, lambda: ragged).embeddings_N_D


def test_what_was_not_offered_is_named():
    points = Points(3, random_log_probs(3, 2, 2, seed=0))
    for read in (lambda: points.labels_N, lambda: points.features_N_D, lambda: points.groups_N):
        with pytest.raises(ValueError, match=r"but these points have none. Choose a method"):
            read()
    with pytest.raises(ValueError, match=r"reads the labelled points, but these `Candidates` have none"):
        _ = Candidates(3, random_log_probs(3, 2, 2, seed=0)).labelled
    with pytest.raises(ValueError, match=r"`Points` expected a table of labels with 3 rows, but got 2"):
        _ = Points(3, random_log_probs(3, 2, 2, seed=0), labels=torch.zeros(2)).labels_N
    with pytest.raises(IndexError, match=r"`Points.at` expected positions from 0 to 2, but got 3"):
        points.at([0, 3])


def test_some_points_have_the_rows_of_the_whole():
    log_probs_N_K_C = random_log_probs(N, 3, 2, seed=1)
    labels, places = torch.arange(N), [4, 0, 4]
    passes: list[int] = []

    def part(positions: list[int]) -> Candidates:
        passes.append(len(positions))
        return Candidates(len(positions), log_probs_N_K_C[positions])

    for at in (None, part):
        candidates = Candidates.stream(N, lambda: log_probs_N_K_C.split(3), labels=labels, at=at)
        assert candidates.at(torch.tensor(places)).log_probs_N_K_C.equal(log_probs_N_K_C[places])
    assert passes == [3]
    whole = Candidates(N, log_probs_N_K_C, lambda: [(labels[:, None].float(), labels[:, None].float())], labels=labels)
    some = whole.at(places)
    assert some.labels_N.tolist() == places
    assert some.embeddings_N_D.flatten().tolist() == places
    assert some.target_inputs is whole
    assert isinstance(some.at([1]), Candidates)
