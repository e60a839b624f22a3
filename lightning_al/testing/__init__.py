"""Checks for the tests of those who write acquisition functions, posteriors and oracles of their own.

Each check says what is wrong by an `AssertionError`, as `sklearn.utils.estimator_checks.check_estimator` does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from signal import SIGINT, SIGTERM, Signals
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.acquisition import Acquisition, Selection
from lightning_al.acquisition.base import plain_metrics
from lightning_al.oracle import OracleLike, Query, as_oracle, name_of
from lightning_al.oracle.answers import AnswerError, index_of, plain_label
from lightning_al.oracle.asking import pair_of, together
from lightning_al.oracle.label_rules import rules_for
from lightning_al.oracle.query import LazyItems
from lightning_al.points import Candidates, Points
from lightning_al.posterior import Fit, Posterior, PosteriorSamples
from lightning_al.posterior.base import evaluating, in_evaluation_mode
from lightning_al.run.weights import copy_weights
from lightning_al.task.class_names import Classes, listed_classes
from lightning_al.testing.interruptions import ending_of
from lightning_al.values.content_hash import content_hash

N, K, C, D = 24, 6, 4, 5
TOLERANCE = 1e-4


def check_acquisition(acquisition: Acquisition, *, num_samples: int = K) -> None:
    """Check that an acquisition function keeps what `Acquisition.select` promises, on small pools of several kinds.

    It selects among random predictions, among some that are certain, and among candidates that are all the same; from
    a table and from streams of several chunk sizes; with embeddings, residuals, features, groups, labelled points and
    target inputs at hand.

    Args:
        acquisition: An object of the class to check.
        num_samples: Number of posterior samples K of the predictions.

    Raises:
        AssertionError: If it does not. The message names the fault: it repeats a position, answers with too few, scores
            NaN, ignores the generator or draws from another one, depends on the size of chunks, or changes its input.

    >>> from lightning_al import BALD
    >>> check_acquisition(BALD())
    """
    who = type(acquisition).__name__
    for kind in ("random", "certain", "the same"):
        tables = _tables(kind, max(num_samples, acquisition.min_samples))
        for b in (1, 5, N, N + 3):
            _check_selection(acquisition, tables, b, kind)
    tables = _tables("random", max(num_samples, acquisition.min_samples))
    first = _select(acquisition, tables)
    torch.manual_seed(1)
    _require(
        _same(first, _select(acquisition, tables)),
        f"`{who}` ignores the generator: with the same state of it, two calls select differently, "
        f"{first.positions.tolist()} and others. Draw from the `generator` that `select` is given, and from no other.",
    )
    for size in (1, 7):
        streamed = _select(acquisition, tables, chunk=size)
        _require(
            _same(first, streamed),
            f"`{who}` depends on the batch: it selects {first.positions.tolist()} from a table, but "
            f"{streamed.positions.tolist()} from a stream in chunks of {size}. Score each point by itself.",
        )
    alike = _tables("the same", max(num_samples, acquisition.min_samples))
    picks = {tuple(_select(acquisition, alike, seed=seed).positions.tolist()) for seed in range(4)}
    in_order = {tuple(range(5)), tuple(range(N - 1, N - 6, -1))}
    _require(
        len(picks) > 1 or picks <= in_order,
        f"`{who}` ignores the generator: of candidates that are all the same it selects {picks} whatever the "
        "generator's state. Draw from the `generator` that `select` is given, not from one with a seed of its own.",
    )


def check_posterior(
    posterior: Posterior,
    *,
    module: nn.Module | None = None,
    inputs: Tensor | None = None,
    forward: Callable[[Any, Any], Tensor] | None = None,
) -> None:
    """Check that a posterior keeps what `Posterior.draw` and `PosteriorSamples.outputs` promise, on a small network.

    Of the `num_fits` fits that it is given, the last has the network's weights, and the others have weights near these.

    Args:
        posterior: An object of the class to check.
        module: The network, by default one of two linear layers with dropout between them.
        inputs: Its inputs ``[n, ...]``, 8 or more points.
        forward: Maps the network and a batch, a pair of inputs and labels, to raw outputs; by default the network is
            called on the inputs.

    Raises:
        AssertionError: If it does not. The message names the fault: the number of outputs, samples that depend on the
            batch, differ from call to call or ignore the seed or a fit, numbers drawn from the global generator, or a
            network, its modes, a fit or a batch that was changed.

    >>> from lightning_al import MCDropout
    >>> check_posterior(MCDropout(num_samples=5))
    """
    who = type(posterior).__name__
    module = _network() if module is None else module
    x = torch.randn(12, D, generator=torch.Generator().manual_seed(2)) if inputs is None else inputs
    y = torch.arange(len(x)) % C
    call = (lambda net, batch: net(batch[0])) if forward is None else forward
    before = copy_weights(module), [part.training for part in module.modules()]

    def require_same_network() -> None:
        modes = [part.training for part in module.modules()]
        _require(
            _same_weights(copy_weights(module), before[0]) and modes == before[1],
            f"`{who}` changes the network: its weights, buffers or modes are not what they were. Put back what is "
            "borrowed.",
        )

    def draw(seed: int, other: int | None = None) -> PosteriorSamples:
        fits = _fits(module, posterior.num_fits, other)
        labelled = [(x[:4].clone(), y[:4].clone()), (x[4:8].clone(), y[4:8].clone())]
        with _global_generator_unused(who), in_evaluation_mode(module):
            samples = posterior.draw(fits, module, labelled, forward=call, seed=seed)
        require_same_network()
        _require(
            all(map(_are_same_fits, fits, _fits(module, posterior.num_fits, other))),
            f"`{who}` changes the weights of a fit in place. Copy what is to be changed.",
        )
        _require(
            all(
                torch.equal(inputs, x[start : start + 4]) and torch.equal(labels, y[start : start + 4])
                for start, (inputs, labels) in zip((0, 4), labelled, strict=True)
            ),
            f"`{who}` changes a batch of the labelled points in place. Copy what is to be changed.",
        )
        return samples

    def outputs(samples: PosteriorSamples, places: Sequence[int] | None = None) -> Tensor:
        some = list(range(len(x))) if places is None else list(places)
        batch = x[some].clone(), y[some].clone()
        with _global_generator_unused(who), evaluating(module):
            found = list(samples.outputs(batch))
        require_same_network()
        _require(
            torch.equal(batch[0], x[some]) and torch.equal(batch[1], y[some]),
            f"`{who}` changes a batch in place. Copy what is to be changed.",
        )
        _require(
            len(found) == samples.num_samples,
            f"`{who}` promises {samples.num_samples} samples, but its `outputs` yields {len(found)} tensors. Yield one "
            "for each sample.",
        )
        _require(
            all(isinstance(output, Tensor) and len(output) == len(some) for output in found),
            f"`{who}` yields outputs without a row for each of {len(some)} points. Yield tensors [n, ...].",
        )
        _require(
            not any(output.requires_grad for output in found),
            f"`{who}` yields outputs with gradients, which keep all that they were computed from. Detach them.",
        )
        return torch.stack(found)

    samples = draw(0)
    _require(
        isinstance(samples, PosteriorSamples),
        f"`{who}.draw` returns {type(samples).__name__}. Return `PosteriorSamples`.",
    )
    whole = outputs(samples)
    torch.manual_seed(3)
    _require(
        _close(whole, outputs(samples)),
        f"`{who}` gives other outputs when it is asked again for the same batch. Draw all noise in `draw`.",
    )
    for size in (1, 5):
        parts = [range(start, min(start + size, len(x))) for start in range(0, len(x), size)]
        _require(
            _close(whole, torch.cat([outputs(samples, part) for part in parts], 1)),
            f"`{who}` depends on the batch: sample k is not one function of the input, since outputs for a point "
            f"differ between batches of {len(x)} and of {size}. Draw all noise in `draw`, once for each sample.",
        )
    order = list(reversed(range(len(x))))
    _require(
        _close(whole[:, order], outputs(samples, order)),
        f"`{who}` depends on the batch: outputs for a point differ where the points come in another order. Draw all "
        "noise in `draw`, once for each sample.",
    )
    _require(
        _close(whole, outputs(draw(0))),
        f"`{who}` does not repeat: two draws with the same seed give different samples. Draw by `seed` alone.",
    )
    _require(
        samples.num_samples <= posterior.num_fits or not _close(whole, outputs(draw(1))),
        f"`{who}` ignores the seed: draws with seeds 0 and 1 give the same samples. Draw by `seed`.",
    )
    for other in range(posterior.num_fits - 1):
        _require(
            not _close(whole, outputs(draw(0, other))),
            f"`{who}` ignores fit {other} of {posterior.num_fits}: with other weights in it, the samples are the same. "
            "Draw from all `fits`, or lower `num_fits`.",
        )


def check_oracle(
    oracle: OracleLike,
    *,
    query: Query | None = None,
    classes: Sequence[str] | Sequence[int] | None = None,
    feed: Callable[[Query], object] | None = None,
    seconds: float = 5.0,
) -> None:
    """Check that an oracle keeps what `Oracle.label` promises, on a query of a few points.

    It is asked about ten times: for all points, for one, for those that it left out, and twice with a signal on the
    way. To be called in the main thread.

    Args:
        oracle: An oracle, an object with its method `label`, or a function of the query.
        query: What to ask, 2 or more points with no answers yet; by default six points of four classes.
        classes: The classes of the dataset, their names or numbers, where answers are to be held against them.
        feed: Answers in a person's place: it is called with each query before the oracle is, and writes the file that
            it reads, say. Only where a signal comes it is not called, so that the oracle waits.
        seconds: How long the oracle may take to answer, and to end after a signal.

    Raises:
        AssertionError: If it does not. The message names the fault: it answers for others, twice, or with what is no
            label, changes the query or its items, cannot be closed, does not end, blocks a signal, or leaves a signal's
            handler behind.

    >>> from lightning_al import Revealed
    >>> check_oracle(Revealed())
    """
    answering = as_oracle(oracle)
    who = name_of(answering)
    query = _query() if query is None else query
    everything = range(len(query))
    rules = rules_for((), Classes() if classes is None else listed_classes(classes), None)

    def asked(
        asks: Callable[[Query], Any], places: Sequence[int], answers: Mapping[int, Any], sent: Signals | None = None
    ) -> Any:
        """Ask for some of the points, the others' answers being known, and return what comes of it."""
        part = _part_of(query, places, answers)
        before = _state_of(part)
        if feed is not None and sent is None:
            feed(part)
        ending = ending_of(lambda: asks(part), seconds=seconds, sent=sent)
        if sent is not None:
            _require(
                not ending.is_late,
                f"`{who}` blocks a signal: {seconds:g} s after {sent.name} came while it was asked, it has not ended. "
                "Let KeyboardInterrupt and SystemExit out of `label`, and leave the handlers of signals alone.",
            )
        _require(
            not ending.is_late,
            f"`{who}` does not end: it was asked {seconds:g} s ago. Return what is answered and leave the rest out, or "
            "pass `feed=`, by which it gets its answers, or more `seconds`.",
        )
        after = _state_of(part)
        for name, known in before.items():
            _require(
                known is None or known == after[name],
                f"`{who}` changes the query: its {name} are not what they were. Work on a copy.",
            )
        _require(
            not ending.left,
            f"`{who}` leaves a handler behind: {' and '.join(ending.left)} is handled in another way than before it "
            "was asked, or blocked. Put back what is borrowed.",
        )
        if sent is not None:
            return None
        if ending.error is not None:
            raise ending.error
        return ending.value

    def answers_of(part: Query) -> dict[int, Any]:
        indices, found = part.indices, dict[int, Any]()
        for pairs in together(answering.label(part)):
            for pair in pairs:
                key, answer = pair_of(pair)
                index = index_of(key)
                _require(
                    index in indices,
                    f"`{who}` answers for others: for {index}, but it was asked for {indices}. Answer for the indices "
                    "of the query alone; those in its `answers` are recorded.",
                )
                _require(
                    index not in found, f"`{who}` answers twice for {index}. Answer once for each point of a query."
                )
                found[index] = None if answer is None else plain_label(answer, rules)
        return found

    def checked(part: Query) -> dict[int, Any]:
        try:
            return answers_of(part)
        except AnswerError as error:
            raise AssertionError(
                f"`{who}` gives an answer that is refused: {error}. Return a label of the dataset for each index."
            ) from error

    def close_in_the_middle(part: Query) -> None:
        answers = answering.label(part)
        if isinstance(answers, Generator):
            next(answers, None)
            try:
                answers.close()
            except Exception as error:
                raise AssertionError(
                    f"`{who}` cannot be closed: its generator raises {type(error).__name__} where the run is left "
                    "between two answers. Let GeneratorExit out of it."
                ) from error

    for sent in (SIGINT, SIGTERM):
        asked(checked, everything, {}, sent)
    found = asked(checked, everything, {})
    asked(checked, [0], {})
    asked(close_in_the_middle, everything, {})
    recorded = dict(list(found.items())[:-1])
    rest = [place for place in everything if query[place] not in recorded]
    for _ in range(2):
        asked(checked, rest, recorded)


def _query() -> Query:
    indices = [41, 7, 12, 3, 30, 25]
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(len(indices), C, generator=generator).softmax(1).tolist()
    items = [(torch.randn(D, generator=generator), 0) for _ in indices]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    return Query(2, indices, scores=scores, probs=probs, items=items)


def _part_of(query: Query, places: Sequence[int], answers: Mapping[int, Any]) -> Query:
    """Return a query for some of its points, with lists of its own."""

    def some(values: Sequence[Any] | None) -> Any:
        return [values[place] for place in places] if values else values

    return Query(
        query.round,
        some(query),
        keys=some(query.keys),
        scores=some(query.scores),
        probs=some(query.probs),
        answers=answers,
        items=LazyItems(query.items.__getitem__, places) if len(query.items) else (),
    )


def _state_of(query: Query) -> dict[str, Any]:
    """Return all that an oracle may read of a query, to be compared; None where two readings of an item differ."""
    items = [content_hash(item) for item in query.items]
    return {
        "indices": query.indices,
        "keys": list(query.keys),
        "scores": list(query.scores),
        "probs": copy.deepcopy(query.probs),
        "answers": dict(query.answers),
        "items": items if items == [content_hash(item) for item in query.items] else None,
    }


def _fits(module: nn.Module, num_fits: int, other: int | None = None) -> list[Fit]:
    """Return fits of which the last has the module's weights, and which are the same each time but for another one."""
    fits = []
    for number in range(num_fits):
        weights = copy_weights(module)
        generator = torch.Generator().manual_seed(number + num_fits * (number == other))
        for name, value in weights.items():
            if number < num_fits - 1 and isinstance(value, Tensor) and value.is_floating_point():
                weights[name] = value * (1 + 0.5 * torch.rand(value.shape, generator=generator).to(value))
        fits.append(Fit(weights, number))
    return fits


def _tables(kind: str, num_samples: int) -> dict[str, Tensor]:
    """Return predictions [N, K, C], embeddings and so on of the candidates, the labelled points and the targets."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(N, num_samples, C, generator=generator, dtype=torch.float64)
    embeddings = torch.randn(N, D, generator=generator)
    if kind == "the same":
        logits, embeddings = logits[:1].expand_as(logits), embeddings[:1].expand_as(embeddings)
    log_probs = logits.log_softmax(-1)
    if kind == "certain":
        log_probs = nn.functional.one_hot(logits.argmax(-1), C).double().log()
    mean = log_probs.exp().mean(1)
    return {
        "log_probs": log_probs.contiguous(),
        "embeddings": embeddings.contiguous(),
        "residuals": (mean - nn.functional.one_hot(mean.argmax(1), C)).float(),
        "other log_probs": torch.randn(7, num_samples, C, generator=generator, dtype=torch.float64).log_softmax(-1),
        "other embeddings": torch.randn(7, D, generator=generator),
    }


def _candidates(tables: dict[str, Tensor], chunk: int | None) -> Candidates:
    def last_layer(size: int) -> Iterator[tuple[Tensor, ...]]:
        return zip(tables["embeddings"].split(size), tables["residuals"].split(size), strict=True)

    others = Points(
        7,
        tables["other log_probs"],
        lambda: [(tables["other embeddings"], torch.zeros(7, C))],
        labels=torch.arange(7) % C,
        features=tables["other embeddings"],
        groups=torch.arange(7) % 3,
    )
    given: dict[str, Any] = {
        "features": tables["embeddings"],
        "groups": torch.arange(N) % 3,
        "labelled": others,
        "target_inputs": others,
    }
    if chunk is None:
        return Candidates(N, tables["log_probs"], lambda: last_layer(N), **given)
    return Candidates.stream(N, lambda: tables["log_probs"].split(chunk), lambda: last_layer(chunk), **given)


def _select(
    acquisition: Acquisition, tables: dict[str, Tensor], b: int = 5, *, chunk: int | None = None, seed: int = 0
) -> Selection:
    return acquisition.select(_candidates(tables, chunk), b, torch.Generator().manual_seed(seed))


def _check_selection(acquisition: Acquisition, tables: dict[str, Tensor], b: int, kind: str) -> None:
    who, expected = type(acquisition).__name__, min(b, N)
    kept = {name: table.clone() for name, table in tables.items()}
    with _global_generator_unused(who):
        selection = _select(acquisition, tables, b)
    positions, scores = selection.positions.tolist(), selection.scores.tolist()
    where = f"for b = {b} among {N} candidates ({kind})"
    _require(
        len(positions) == expected,
        f"`{who}` selects {len(positions)} candidates {where}, not {expected}. Select b, or all where there are fewer.",
    )
    _require(
        len(set(positions)) == len(positions),
        f"`{who}` repeats a position {where}: {positions}. Select each candidate once, ties and zeros included.",
    )
    _require(
        all(isinstance(position, int) and 0 <= position < N for position in positions),
        f"`{who}` selects what is no position {where}: {positions}. Return int64 positions from 0 to {N - 1}.",
    )
    _require(
        len(scores) == expected and not selection.scores.isnan().any(),
        f"`{who}` gives scores {scores} {where}. Return one for each pick, none of them NaN.",
    )
    plain_metrics(acquisition, selection.metrics)
    _require(
        all(torch.equal(table, tables[name]) for name, table in kept.items()),
        f"`{who}` changes its input in place. Work on a copy of what candidates offer.",
    )


def _network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, C))


@contextmanager
def _global_generator_unused(who: str) -> Iterator[None]:
    state = torch.get_rng_state()
    yield
    _require(
        torch.equal(state, torch.get_rng_state()),
        f"`{who}` draws from torch's global generator, so that whoever else draws from it changes the result. Draw "
        "from a generator of the state or the seed that is given.",
    )


def _same(one: Selection, other: Selection) -> bool:
    return torch.equal(one.positions, other.positions) and torch.allclose(
        one.scores.double(), other.scores.double(), atol=TOLERANCE, equal_nan=True
    )


def _are_same_fits(one: Fit, other: Fit) -> bool:
    return _same_weights(one.weights, other.weights)


def _same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _require(is_kept: bool, said: str) -> None:
    if not is_kept:
        raise AssertionError(said)
