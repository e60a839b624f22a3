"""Bad numbers never choose in silence: each table gets the right answer, or one error of ours that says what to do.

Axes: N points, K posterior samples, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_al.acquisition import Acquisition, available, create
from lightning_al.acquisition.base import ROWS_CHECKED, ScoreAcquisition
from lightning_al.acquisition.batchbald import batchbald
from lightning_al.points import Candidates
from tests import references
from tests.acquisition.test_hard_cases import assert_equal_up_to_ties
from tests.references import random_log_probs
from tests.support.combinations import one_in
from tests.support.pools import others, pool, reads_log_probs

NAMES = available()
NO_LOG_PROBS = r"expected log-probabilities, .*Apply `log_softmax\(-1\)` to logits, or `log\(\)` to probabilities"


@dataclass(frozen=True)
class Table:
    """A table to choose from, and what is to come of it.

    Attributes:
        log_probs: What is offered.
        chunks: The same as a stream, or None.
        error: What the error says, or None where an answer is right.
        clean: float64 log-probabilities that the right answer comes from.
        rounding: How far scores may be from the definition's.
    """

    log_probs: Any
    chunks: list[Tensor] | None = None
    error: str | None = None
    clean: Tensor | None = None
    rounding: float = 1e-9

    @property
    def size(self) -> int:
        if self.chunks is not None:
            return sum(map(len, self.chunks))
        return len(self.log_probs) if isinstance(self.log_probs, Tensor) and self.log_probs.dim() else 1

    def candidates(self) -> Candidates:
        if self.chunks is not None:
            return Candidates.stream(self.size, lambda: self.chunks, **others(self.size))
        return Candidates(self.size, self.log_probs, **others(self.size))


@dataclass(frozen=True)
class Sizes:
    """Sizes of a table and the generator of what is drawn in it."""

    N: int
    K: int
    C: int
    generator: torch.Generator

    @classmethod
    def draw(cls, seed: int) -> Sizes:
        generator = torch.Generator().manual_seed(seed)
        N, K, C = (int(torch.randint(low, high, (), generator=generator)) for low, high in ((1, 12), (2, 7), (2, 6)))
        return cls(N, K, C, generator)

    def below(self, high: int) -> int:
        return int(torch.randint(high, (), generator=self.generator))

    def log_probs(self, dtype: torch.dtype = torch.float64) -> Tensor:
        spread = (0.01, 1.0, 5.0)[self.below(3)]
        return random_log_probs(self.N, self.K, self.C, seed=self.below(10_000), spread=spread, dtype=dtype)

    def float_dtype(self) -> torch.dtype:
        return (torch.float32, torch.float64)[self.below(2)]


def right(log_probs: Tensor) -> Table:
    """Expect the answer for a clean float64 copy, which half precision is normalised in first."""
    clean = log_probs.detach().double()
    is_half = log_probs.dtype not in (torch.float32, torch.float64)
    return Table(
        log_probs,
        clean=clean.log_softmax(-1) if is_half else clean.contiguous(),
        rounding=1e-9 if log_probs.dtype == torch.float64 else 2e-5,
    )


def with_value(value: float, error: str, sizes: Sizes) -> Table:
    """Put a number in one place, in a row or everywhere."""
    log_probs = sizes.log_probs(sizes.float_dtype())
    place = sizes.below(sizes.N), sizes.below(sizes.K), sizes.below(sizes.C)
    log_probs[place[: sizes.below(4)]] = value
    return Table(log_probs, error=error)


def impossible(sizes: Sizes) -> Table:
    """Take the likeliest class, or all classes, of a row for impossible."""
    log_probs = sizes.log_probs(sizes.float_dtype())
    row_C = log_probs[sizes.below(sizes.N), sizes.below(sizes.K)]
    row_C[(int(row_C.argmax()), slice(None))[sizes.below(2)]] = -math.inf
    return Table(log_probs, error=NO_LOG_PROBS)


def unnormalised(sizes: Sizes) -> Table:
    """Logits below 0, of some rows or of all."""
    log_probs = sizes.log_probs(sizes.float_dtype())
    place = sizes.below(sizes.N), sizes.below(sizes.K)
    log_probs[place[: sizes.below(3)]] -= 0.05 + 10 * torch.rand((), generator=sizes.generator)
    return Table(log_probs, error=NO_LOG_PROBS)


def sums_above_one(sizes: Sizes) -> Table:
    log_probs = sizes.log_probs(sizes.float_dtype())
    log_probs[sizes.below(sizes.N), sizes.below(sizes.K)] = -0.01
    return Table(log_probs, error=NO_LOG_PROBS)


def halves_of_logits(sizes: Sizes) -> Table:
    """Logits in half precision, which is normalised only where rounding alone made it wrong."""
    dtype = (torch.float16, torch.bfloat16)[sizes.below(2)]
    return Table((sizes.log_probs() - 3).to(dtype), error=NO_LOG_PROBS)


def zeros(sizes: Sizes) -> Table:
    return Table(torch.zeros(sizes.N, sizes.K, sizes.C, dtype=sizes.float_dtype()), error=NO_LOG_PROBS)


def equal_rows(sizes: Sizes) -> Table:
    return right(sizes.log_probs(sizes.float_dtype())[:1].repeat(sizes.N, 1, 1))


def constant(sizes: Sizes) -> Table:
    return right(torch.full((sizes.N, sizes.K, sizes.C), -math.log(sizes.C), dtype=sizes.float_dtype()))


def one_hot(sizes: Sizes) -> Table:
    classes_N_K = torch.randint(sizes.C, (sizes.N, sizes.K), generator=sizes.generator)
    return right(torch.nn.functional.one_hot(classes_N_K, sizes.C).to(sizes.float_dtype()).log())


def subnormal(sizes: Sizes) -> Table:
    """Probabilities too small for a float to hold in full, beside one that takes all."""
    dtype = sizes.float_dtype()
    tiny = torch.finfo(dtype).tiny
    low = math.log(tiny) - 10 * torch.rand(sizes.N, sizes.K, sizes.C, generator=sizes.generator, dtype=torch.float64)
    low[..., sizes.below(sizes.C)] = 0.0
    return right(low.to(dtype))


def barely_above_zero(sizes: Sizes) -> Table:
    """What rounding makes of a probability of 1."""
    table = one_hot(sizes).log_probs
    return Table(torch.where(table == 0, 1e-6, table), clean=table.double(), rounding=2e-5)


def nothing(sizes: Sizes) -> Table:
    return right(sizes.log_probs()[:0])


def nothing_in_a_stream(sizes: Sizes) -> Table:
    return Table(None, chunks=[], clean=sizes.log_probs()[:0])


def one_sample(sizes: Sizes) -> Table:
    return right(sizes.log_probs(sizes.float_dtype())[:, :1])


def no_samples(sizes: Sizes) -> Table:
    return Table(sizes.log_probs()[:, :0], error=r"expected at least [12] of them, but got 0. Raise `num_samples`")


def one_class(sizes: Sizes) -> Table:
    return Table(torch.zeros(sizes.N, sizes.K, 1), error="2 classes, but got 1. Make two of the one logit z")


def no_classes(sizes: Sizes) -> Table:
    return Table(torch.zeros(sizes.N, sizes.K, 0), error="expected at least 2 classes, but got 0. ")


def half(sizes: Sizes) -> Table:
    return right(sizes.log_probs((torch.float16, torch.bfloat16)[sizes.below(2)]))


def single(sizes: Sizes) -> Table:
    return right(sizes.log_probs(sizes.float_dtype()))


def no_floats(sizes: Sizes) -> Table:
    dtype = (torch.int64, torch.int8, torch.bool, torch.complex64)[sizes.below(4)]
    return Table(sizes.log_probs().to(dtype), error=rf"expected floating-point log-probabilities, but got {dtype}")


def no_tensor(sizes: Sizes) -> Table:
    thing = (None, sizes.log_probs().tolist(), sizes.log_probs().numpy())[sizes.below(3)]
    return Table(thing, error=r"`Candidates` expected a tensor of log-probabilities, but got (NoneType|list|nd)")


def sparse(sizes: Sizes) -> Table:
    return Table(sizes.log_probs().to_sparse(), error=r"but got one of layout torch.sparse_coo.*`to_dense\(\)`")


def meta(sizes: Sizes) -> Table:
    return Table(sizes.log_probs().to("meta"), error="but got a tensor on the meta device, which has none. Make")


def transposed(sizes: Sizes) -> Table:
    return right(sizes.log_probs(sizes.float_dtype()).transpose(1, 2).contiguous().transpose(1, 2))


def strided(sizes: Sizes) -> Table:
    table = sizes.log_probs(sizes.float_dtype())
    return right(table.repeat_interleave(2, 0).repeat_interleave(3, 2)[::2, :, 1::3])


def expanded(sizes: Sizes) -> Table:
    table = sizes.log_probs(sizes.float_dtype())
    return right((table[:1], table[:, :1])[sizes.below(2)].expand_as(table))


def requires_grad(sizes: Sizes) -> Table:
    return right(sizes.log_probs(sizes.float_dtype()).requires_grad_())


def other_shape(sizes: Sizes) -> Table:
    table = sizes.log_probs()
    table = (table[0, 0, 0], table[0, 0], table[0], table[None])[sizes.below(4)]
    return Table(table, error=r"expected log-probabilities of shape \[\d+, K, C\], but got \[")


def other_shape_in_a_stream(sizes: Sizes) -> Table:
    table = sizes.log_probs()
    chunks = [table, (table[0, 0], table[0], table[None])[sizes.below(3)]]
    return Table(None, chunks=chunks, error=r"expected chunks of shape \[n, K, C\] with \d+ points in all, but got")


def clean_stream(sizes: Sizes) -> Table:
    table = right(sizes.log_probs(sizes.float_dtype()))
    chunks = list(table.log_probs.split(1 + sizes.below(4)))
    return Table(table.log_probs, chunks=chunks, clean=table.clean, rounding=table.rounding)


def bad_last_chunk(sizes: Sizes) -> Table:
    good = list(sizes.log_probs().split(1 + sizes.below(4)))
    bad = good[-1].clone()
    kind = sizes.below(3)
    bad[-1, 0] = (math.nan, math.inf, -5.0)[kind]
    return Table(None, chunks=[*good, bad], error=(r"NaN for 1 candidates", NO_LOG_PROBS, NO_LOG_PROBS)[kind])


def chunks_that_differ(sizes: Sizes) -> Table:
    table = sizes.log_probs()
    other = (table.float(), table.half(), table.repeat(1, 2, 1), torch.cat([table, table - 40], -1))[sizes.below(4)]
    return Table(None, chunks=[table, other], error=r"expected chunks of one dtype, device, K and C, .*but got")


MAKERS: list[Callable[[Sizes], Table]] = [
    partial(with_value, math.nan, r"expected log-probabilities, but got NaN for \d+ candidates, the first at position"),
    partial(with_value, math.inf, NO_LOG_PROBS),
    partial(with_value, 0.5, NO_LOG_PROBS),
    impossible,
    unnormalised,
    sums_above_one,
    halves_of_logits,
    zeros,
    equal_rows,
    constant,
    one_hot,
    subnormal,
    barely_above_zero,
    nothing,
    nothing_in_a_stream,
    one_sample,
    no_samples,
    one_class,
    no_classes,
    half,
    single,
    no_floats,
    no_tensor,
    sparse,
    meta,
    transposed,
    strided,
    expanded,
    requires_grad,
    other_shape,
    other_shape_in_a_stream,
    clean_stream,
    bad_last_chunk,
    chunks_that_differ,
]


def assert_answered_or_refused(name: str, seed: int) -> None:
    """Let an acquisition function choose from the table that a seed stands for."""
    sizes = Sizes.draw(seed)
    table = MAKERS[seed % len(MAKERS)](sizes)
    b = (1, 2, sizes.N, sizes.N + 3)[sizes.below(4)]
    acquisition, generator = create(name), torch.Generator().manual_seed(seed)
    offered = [thing for thing in (table.log_probs, *(table.chunks or ())) if is_held(thing)]
    before = [bits(tensor) for tensor in offered]

    too_few = table.clean is not None and len(table.clean) and table.clean.shape[1] < acquisition.min_samples
    error = "compares posterior samples and expected at least 2 of them, but got 1" if too_few else table.error
    if not reads_log_probs(name):
        assert_is_choice(acquisition.select(table.candidates(), b, generator), min(b, table.size), table.size)
    elif error is not None:
        with pytest.raises((ValueError, TypeError), match=error):
            acquisition.select(table.candidates(), b, generator)
    else:
        assert table.clean is not None
        assert_is_right(name, acquisition, table, b, generator)
    assert all(torch.equal(bits(tensor), kept) for tensor, kept in zip(offered, before, strict=True))


def assert_is_choice(selection: Any, b: int, size: int) -> None:
    positions = selection.positions.tolist()
    assert selection.positions.dtype == torch.int64
    assert selection.scores.shape == (b,)
    assert selection.scores.isfinite().all()
    assert not selection.scores.requires_grad
    assert len(set(positions)) == len(positions) == b
    assert all(0 <= position < size for position in positions)


def assert_is_right(name: str, acquisition: Acquisition, table: Table, b: int, generator: torch.Generator) -> None:
    selection = acquisition.select(table.candidates(), b, generator)
    clean = table.clean
    assert clean is not None
    N, b = len(clean), min(b, len(clean))
    assert_is_choice(selection, b, N)
    if N == 0:
        return
    positions, scores = selection.positions.tolist(), selection.scores.tolist()
    if name == "batchbald":
        expected = references.batchbald_evaluating_everything(clean, b, num_configurations=10_000)
        if table.rounding < 1e-6:
            assert_equal_up_to_ties(positions, expected, clean, 10_000)
        assert scores[-1] <= math.log(clean.shape[1]) + 1e-6
        known = references.joint_mutual_information(clean[positions[:3]])
        assert scores[: min(b, 3)][-1] == pytest.approx(known, abs=table.rounding)
        return
    if name not in references.SCORES:  # one that draws: its own file tests its scores
        return
    expected = references.SCORES[name](clean)
    assert scores == pytest.approx([expected[position] for position in positions], abs=table.rounding)
    assert scores == sorted(scores, reverse=True)
    left = [expected[position] for position in range(N) if position not in positions]
    assert not left or max(left) <= scores[-1] + table.rounding


def is_held(thing: Any) -> bool:
    return isinstance(thing, Tensor) and thing.device.type != "meta" and thing.layout is torch.strided


def bits(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor's bytes, in which NaN equals itself."""
    return tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("seed", range(len(MAKERS)))
def test_a_table_is_answered_or_refused(seed: int) -> None:
    for name in NAMES:
        assert_answered_or_refused(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_thousand_tables_are_answered_or_refused(name: str) -> None:
    for seed in range(1000):
        assert_answered_or_refused(name, seed)


@pytest.mark.parametrize(
    ("C", "dtype"), one_in(2, [2, 10, 300], [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
)
def test_what_rounding_makes_of_log_probabilities_is_no_error(C: int, dtype: torch.dtype) -> None:
    table = torch.cat([random_log_probs(10, 3, C, seed=0, spread=spread) for spread in (0.0, 0.1, 1.0, 4.0)])
    # The cost of BatchEPIG grows with the square of the number of classes.
    for name in (name for name in NAMES if C < 300 or name != "batch_epig"):
        create(name).select(pool(table.to(dtype)), 2, torch.Generator())


def test_of_a_large_table_rows_are_checked_everywhere() -> None:
    """Logits all over a table, in a half of it or in one posterior sample are noticed, however large it is."""
    N, K = 4 * ROWS_CHECKED, 7
    for part in (slice(None), slice(N // 2, None), slice(None, N // 2), (slice(None), K - 1), (slice(None), 0)):
        table = torch.full((N, K, 2), 0.5).log()
        table[part] -= 1
        with pytest.raises(ValueError, match=NO_LOG_PROBS):
            create("bald").select(Candidates(N, table), 1, torch.Generator())


def test_formulas_refuse_what_the_acquisition_functions_refuse() -> None:
    with pytest.raises(ValueError, match=r"`batchbald` expected log-probabilities, .*at position 1 they sum to 2"):
        batchbald(torch.tensor([[[0.5, 0.5]] * 2, [[1.0, 1.0]] * 2]).log(), 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("b", [2.5, "3", None, True])
def test_a_number_of_points_that_is_none(name: str, b: Any) -> None:
    with pytest.raises(TypeError, match="A query must ask for a whole number of points, but got b="):
        create(name).select(pool(random_log_probs(3, 2, 2, seed=0)), b, torch.Generator())


@pytest.mark.parametrize("shape", [(3, 1), (2,), ()])
def test_scores_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    class Odd(ScoreAcquisition):
        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            return torch.zeros(shape)

    with pytest.raises(ValueError, match=r"`Odd.score` should return scores of shape \[3\], one for each candidate"):
        Odd().select(Candidates(3, random_log_probs(3, 2, 2, seed=0)), 1, torch.Generator())


def test_chunks_that_are_no_tensors_are_refused() -> None:
    chunks: Any = [[[[0.5, 0.5]]]]
    with pytest.raises(TypeError, match="expected chunks that are tensors of log-probabilities, but got list"):
        create("bald").select(Candidates.stream(1, lambda: chunks), 1, torch.Generator())
