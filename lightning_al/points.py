"""Points as an acquisition function sees them: candidates, labelled points, and target inputs.

Axes: N points, K posterior samples, C classes, D embedding dimensions.

The two classes share each table and its docstring, half of the file, so they stay together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Self, cast

import torch
from torch import Tensor

TABLES = {"labels": "labels_N", "features": "features_N_D", "groups": "groups_N"}

Table = Tensor | Callable[[], Tensor]
"""A tensor with a row for each point, or a function that computes it when it is first read."""


class Points:
    """What is known of N points under the round's posterior samples, computed when it is first read.

    Points are known by their positions, 0 to N - 1. `Points.stream` makes points that do not fit into memory.

    Args:
        size: Number of points N.
        log_probs: Log-probabilities ``[N, K, C]``, or a function that computes them.
        last_layer: A function that starts a pass over the points, which yields embeddings ``[n, D]`` of consecutive
            points, and their residuals ``[n, C]`` if these can be read; see `LastLayer`.
        labels: Labels ``[N, ...]`` as batches have them, if they are known.
        features: Features ``[N, D]`` that do not depend on the network.
        groups: Numbers ``[N]`` of the groups that points belong to.
        at: A function that returns some of the points by their positions; by default, rows of these tables.

    >>> points = Points(2, lambda: torch.log(torch.full((2, 5, 3), 1 / 3)), labels=torch.tensor([1, 0]))
    >>> len(points), points.log_probs_N_K_C.shape, points.labels_N
    (2, torch.Size([2, 5, 3]), tensor([1, 0]))
    """

    def __init__(
        self,
        size: int,
        log_probs: Table,
        last_layer: Callable[[], Iterable[tuple[Tensor, ...]]] | None = None,
        *,
        labels: Table | None = None,
        features: Table | None = None,
        groups: Table | None = None,
        at: Callable[[list[int]], Points] | None = None,
    ) -> None:
        self._size = size
        self._log_probs = log_probs
        self._last_layer = last_layer
        self._labels = labels
        self._features = features
        self._groups = groups
        self._at = at
        self._chunks: Callable[[], Iterable[Tensor]] | None = None

    @classmethod
    def stream(
        cls,
        size: int,
        chunks: Callable[[], Iterable[Tensor]],
        last_layer: Callable[[], Iterable[tuple[Tensor, ...]]] | None = None,
        **others: Any,
    ) -> Self:
        """Make points that are read in chunks, so a method need not hold the log-probabilities of all of them.

        Args:
            size: Number of points N.
            chunks: A function that starts a new pass over the points, which yields log-probabilities ``[n, K, C]`` of
                consecutive points. Each pass yields the same numbers.
            last_layer: As for the class.
            **others: As for the class.

        >>> pool_N_K_C = torch.log(torch.full((5, 2, 3), 1 / 3))
        >>> points = Points.stream(5, lambda: pool_N_K_C.split(2))
        >>> [len(chunk) for chunk in points.chunks()], len(points.log_probs_N_K_C)
        ([2, 2, 1], 5)
        """
        points = cls(size, torch.empty(0), last_layer, **others)
        points._chunks = chunks
        points._log_probs = points._join_chunks
        return points

    def __len__(self) -> int:
        return self._size

    @property
    def is_stream(self) -> bool:
        """Whether log-probabilities come in chunks, and are not held for all points."""
        return self._chunks is not None and "log_probs_N_K_C" not in self.__dict__

    @property
    def has_features(self) -> bool:
        """Whether the points have features that do not depend on the network."""
        return self._features is not None

    @cached_property
    def log_probs_N_K_C(self) -> Tensor:
        """Log-probabilities ``[N, K, C]`` of each class under each posterior sample, in nats."""
        log_probs = self._log_probs() if callable(self._log_probs) else self._log_probs
        if not isinstance(log_probs, Tensor):
            raise TypeError(
                f"`{type(self).__name__}` expected a tensor of log-probabilities, but got {type(log_probs).__name__}. "
                "Pass `torch.as_tensor(...)` of them."
            )
        if log_probs.dim() != 3 or log_probs.shape[0] != self._size:
            raise ValueError(
                f"`{type(self).__name__}` expected log-probabilities of shape [{self._size}, K, C], "
                f"but got {list(log_probs.shape)}. Return a row for each point."
            )
        return log_probs

    @property
    def embeddings_N_D(self) -> Tensor:
        """Embeddings ``[N, D]``: the inputs of the network's last linear layer, or of the one named, without dropout.

        Raises:
            ValueError: If there are none.
        """
        return self._last_layer_tables[0]

    @property
    def residuals_N_C(self) -> Tensor:
        """Residuals ``[N, C]``: times the embeddings, the gradients of the last layer's weights; see `LastLayer`.

        Raises:
            ValueError: If there are none, as for a method with other tasks than multiclass and binary.
        """
        if len(self._last_layer_tables) < 2:
            raise ValueError(
                "The acquisition function reads residuals, but these points have only embeddings. Set its `tasks` to "
                "multiclass, binary or both: other tasks have no residuals."
            )
        return self._last_layer_tables[1]

    @cached_property
    def labels_N(self) -> Tensor:
        """Labels ``[N, ...]`` as batches have them; class numbers are int64.

        Raises:
            ValueError: If they are not known, like those of candidates.
        """
        return self._table(self._labels, "labels", "Only those of `candidates.labelled` are known.")

    @cached_property
    def features_N_D(self) -> Tensor:
        """Features ``[N, D]`` that do not depend on the network.

        Raises:
            ValueError: If there are none.
        """
        return self._table(self._features, "features", "Read `embeddings_N_D`, or pass `features=`, a row a point.")

    @cached_property
    def groups_N(self) -> Tensor:
        """Number ``[N]``, int64, of the group that each point belongs to.

        Raises:
            ValueError: If no groups were given.
        """
        return self._table(self._groups, "groups", "Pass `ActiveDataModule(groups=...)`, a group for each point.")

    def at(self, positions: Sequence[int] | Tensor) -> Self:
        """Return some of the points in the given order, for a method that passes them on to another one.

        Only what is read of them is computed.

        >>> pool_N_K_C = torch.rand(5, 2, 3).log_softmax(-1)
        >>> torch.equal(Points(5, pool_N_K_C).at([4, 0]).log_probs_N_K_C, pool_N_K_C[[4, 0]])
        True
        """
        places = [int(position) for position in positions]
        outside = [place for place in places if not 0 <= place < self._size]
        if outside:
            raise IndexError(
                f"`{type(self).__name__}.at` expected positions from 0 to {self._size - 1}, but got {outside[0]}. Pass "
                "positions among these points."
            )
        if self._at is not None and "log_probs_N_K_C" not in self.__dict__:
            return cast(Self, self._at(places))
        return self._rows_at(places)

    def _rows_at(self, places: list[int]) -> Self:
        return type(self)(len(places), **self._tables_at(places))

    def _tables_at(self, places: list[int]) -> dict[str, Any]:
        def rows(name: str) -> Callable[[], Tensor]:
            return lambda: getattr(self, name)[places]

        given = {"labels": self._labels, "features": self._features, "groups": self._groups}
        return {
            "log_probs": rows("log_probs_N_K_C"),
            "last_layer": lambda: [tuple(table[places] for table in self._last_layer_tables)],
            **{name: rows(TABLES[name]) for name, table in given.items() if table is not None},
        }

    def _table(self, table: Table | None, what: str, remedy: str) -> Tensor:
        if table is None:
            raise ValueError(
                f"The acquisition function reads {what}, but these points have none. Choose a method that reads "
                f"none. {remedy}"
            )
        found = table() if callable(table) else table
        if len(found) != self._size:
            raise ValueError(
                f"`{type(self).__name__}` expected a table of {what} with {self._size} rows, but got {len(found)}. "
                "Return a row for each point."
            )
        return found

    @cached_property
    def _last_layer_tables(self) -> tuple[Tensor, ...]:
        """Embeddings, and residuals if they can be read; one pass computes both."""
        tables: list[Tensor] = []
        first = 0
        for rows in self.last_layer_chunks():
            tables = tables or [values.new_empty(self._size, *values.shape[1:]) for values in rows]
            for table, values in zip(tables, rows, strict=True):
                if values.shape[1:] != table.shape[1:]:
                    raise ValueError(
                        f"`{type(self).__name__}` expected embeddings of one size for all points, but got "
                        f"{table.shape[1]} numbers for some and {values.shape[1]} for others. Name a layer whose "
                        "input does not depend on the size of the points, by `LastLayer(layer=...)`."
                    )
                table[first : first + len(values)] = values
            first += len(rows[0])
        return tuple(tables or [torch.empty(0, 0)] * 2)

    def last_layer_chunks(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield embeddings ``[n, D]`` and residuals ``[n, C]`` of consecutive points, in a new pass that keeps nothing.

        Residuals are left out if they cannot be read.

        Raises:
            ValueError: If there are none, or if the pass has too few or too many points.
        """
        if self._last_layer is None:
            raise ValueError(
                "The acquisition function reads embeddings, but these points have none. Pass "
                "`last_layer=`, a function that returns embeddings [n, D] and residuals [n, C] chunk by chunk."
            )
        yield from _checked_last_layer(self._last_layer(), self._size, type(self).__name__)

    def chunks(self) -> Iterator[Tensor]:
        """Yield log-probabilities ``[n, K, C]`` of consecutive points; all at once if the points are no stream.

        Raises:
            TypeError: If a chunk is not a tensor.
            ValueError: If chunks have a wrong shape, differ in form, or have too few or too many points.
        """
        if self._chunks is None or not self.is_stream:
            yield self.log_probs_N_K_C
        else:
            yield from _checked_chunks(self._chunks(), self._size, f"{type(self).__name__}.stream")

    def _join_chunks(self) -> Tensor:
        """Fill one table, so chunks and table are never held side by side."""
        # Without chunks, any number of samples and classes is right.
        log_probs_N_K_C, first = torch.empty(0, 2, 2), 0
        for chunk in self.chunks():
            if first == 0:
                log_probs_N_K_C = chunk.new_empty(self._size, *chunk.shape[1:])
            log_probs_N_K_C[first : first + len(chunk)] = chunk
            first += len(chunk)
        return log_probs_N_K_C


class Candidates(Points):
    """The N unlabelled points to choose from, with the labelled points and the target inputs.

    Args:
        size: Number of candidates N.
        log_probs: As for `Points`.
        last_layer: As for `Points`.
        labelled: The labelled points, or a function that makes them.
        target_inputs: The points at which the model will predict, or a function that makes them; by default the
            candidates.
        **others: As for `Points`.

    >>> candidates = Candidates(2, lambda: torch.log(torch.full((2, 5, 3), 1 / 3)))
    >>> len(candidates), candidates.log_probs_N_K_C.shape, candidates.target_inputs is candidates
    (2, torch.Size([2, 5, 3]), True)
    """

    def __init__(
        self,
        size: int,
        log_probs: Table,
        last_layer: Callable[[], Iterable[tuple[Tensor, ...]]] | None = None,
        *,
        labelled: Points | Callable[[], Points] | None = None,
        target_inputs: Points | Callable[[], Points] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(size, log_probs, last_layer, **others)
        self._labelled = labelled
        self._target_inputs = target_inputs

    @cached_property
    def labelled(self) -> Points:
        """The labelled points, whose `labels_N` are known.

        Raises:
            ValueError: If there are none.
        """
        if self._labelled is None:
            raise ValueError(
                "The acquisition function reads the labelled points, but these `Candidates` have none. Pass "
                "`labelled=`, `Points` with `labels=`."
            )
        return self._labelled() if callable(self._labelled) else self._labelled

    @cached_property
    def target_inputs(self) -> Points:
        """The points at which the model will predict; by default the candidates."""
        if self._target_inputs is None:
            return self
        return self._target_inputs() if callable(self._target_inputs) else self._target_inputs

    def _rows_at(self, places: list[int]) -> Self:
        targets = self._target_inputs if self._target_inputs is not None else self
        labelled = None if self._labelled is None else lambda: self.labelled
        target_inputs = targets if isinstance(targets, Points) else lambda: self.target_inputs
        return type(self)(len(places), labelled=labelled, target_inputs=target_inputs, **self._tables_at(places))


def _checked_last_layer(chunks: Iterable[tuple[Tensor, ...]], size: int, who: str) -> Iterator[tuple[Tensor, ...]]:
    """Yield embeddings and residuals, and check that they are of `size` points in all."""
    num_points = 0
    for rows in chunks:
        num_points += len(rows[0])
        if num_points > size:
            break
        yield rows
    if num_points != size:
        raise ValueError(
            f"`{who}` expected embeddings of {size} points, but the pass had "
            f"{'more' if num_points > size else num_points}. Yield those of each point once."
        )


def _checked_chunks(chunks: Iterable[Tensor], size: int, who: str) -> Iterator[Tensor]:
    """Yield log-probabilities, and check that they have one form and are of `size` points in all."""
    num_points, kind = 0, None
    for chunk in chunks:
        if not isinstance(chunk, Tensor):
            raise TypeError(
                f"`{who}` expected chunks that are tensors of log-probabilities, but got {type(chunk).__name__}. Pass "
                "a function that yields tensors [n, K, C]."
            )
        num_points += chunk.shape[0] if chunk.dim() == 3 else 0
        if chunk.dim() != 3 or num_points > size:
            raise ValueError(
                f"`{who}` expected chunks of shape [n, K, C] with {size} points in all, but got one of "
                f"{list(chunk.shape)} that ends at {num_points} points. Yield each point once."
            )
        kind = kind or _kind(chunk)
        if _kind(chunk) != kind:
            raise ValueError(
                f"`{who}` expected chunks of one dtype, device, K and C, those of the first, {kind}, but got one of "
                f"{_kind(chunk)}. Make all of them of one form."
            )
        yield chunk
    if num_points < size:
        raise ValueError(
            f"`{who}` expected {size} points in all, but the pass ended after {num_points}. Pass a function that "
            "starts a new pass each time it is called, not an iterator."
        )


def _kind(chunk: Tensor) -> str:
    """Return the form that all chunks of a stream share."""
    return f"{chunk.dtype} on {chunk.device} with K={chunk.shape[1]} and C={chunk.shape[2]}"
