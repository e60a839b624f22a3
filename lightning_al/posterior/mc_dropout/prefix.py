"""What a network computes from a batch before anything is random in it, computed once for all posterior samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lightning_al.posterior.batches import copied, leaves_of
from lightning_al.values.torch_names import TENSOR_VERSION

Function = Callable[..., Any]


class Prefix:
    """The results of the torch functions that a network calls before its first noise, in order.

    They are given again to the other samples in place of being computed. A network that later changes one of them, or
    its input, in place has to compute everything anew.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = copied(batch)
        self.after: list[tuple[Function, Any, Tensor]] = []
        self._results: list[tuple[Function, Any]] = []
        self._has_ended = False
        self._versions: list[int] | None = None

    def recorder(self, num_draws: Callable[[], int]) -> Function:
        """Return a function that calls a function and keeps its result until the first noise.

        Args:
            num_draws: Counts the noise that was drawn so far inside of functions.
        """

        def compute(func: Function, *args: Any, **kwargs: Any) -> Any:
            if self._has_ended:
                return func(*args, **kwargs)
            versions = _versions((args, kwargs))
            result = func(*args, **kwargs)
            if num_draws() > 0:
                # What this function changed in place it would change once more.
                is_intact = versions is not None and versions == _versions((args, kwargs))
                self.end(is_intact)
                return result
            if func is Tensor.__iter__:  # an iterator could be gone through only once
                result = tuple(result)
            self._results.append((func, result))
            return iter(result) if func is Tensor.__iter__ else result

        return compute

    def end(self, is_intact: bool = True) -> None:
        """Say that the first noise comes now."""
        if not self._has_ended:
            self._has_ended = True
            self._versions = self._current_versions() if is_intact else None

    def is_whole(self) -> bool:
        """Return whether the prefix ended, and nothing in it was changed since."""
        return self._versions is not None and self._versions == self._current_versions()

    def replayer(self) -> Function:
        """Return a function that gives the kept results in order, for as long as the same functions are called."""
        results = iter(self._results)
        same = True

        def compute(func: Function, *args: Any, **kwargs: Any) -> Any:
            nonlocal same
            nothing: tuple[Any, Any] = (None, None)
            kept, result = next(results, nothing) if same else nothing
            # Equal, not identical: torch makes the getter of an attribute anew each time.
            same = kept == func
            if not same:
                return func(*args, **kwargs)
            return iter(result) if func is Tensor.__iter__ else result

        return compute

    def _current_versions(self) -> list[int] | None:
        return _versions([self.batch, [result for _, result in self._results]])


def _versions(held: Any) -> list[int] | None:
    """Return how often each tensor was changed in place, or None where one does not say."""
    tensors = [part for part in leaves_of(held) if isinstance(part, Tensor)]
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return [TENSOR_VERSION.of(tensor) for tensor in tensors]
