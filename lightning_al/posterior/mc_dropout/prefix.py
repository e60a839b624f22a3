"""What a network computes from a batch before anything is random in it, computed once for all posterior samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lightning_al.posterior.batches import copied, leaves_of
from lightning_al.values.torch_names import TENSOR_VERSION

Function = Callable[..., Any]


def call_function(func: Function, *args: Any, **kwargs: Any) -> Any:
    """Call a function, with nothing recorded or reused."""
    return func(*args, **kwargs)


class Prefix:
    """The results of the torch functions that a network calls before its first noise, in order.

    The other samples reuse them. A network that later changes one of them, or its input, in place has to compute
    everything again.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = copied(batch)
        self.after: list[tuple[Function, Any, Tensor]] = []
        self._results: list[tuple[Function, Any]] = []
        self._has_ended = False
        self._versions: list[int] | None = None

    def recorder(self, num_draws: Callable[[], int]) -> Function:
        """Return a function that calls a function, and records its result until the first noise.

        Args:
            num_draws: Returns how many draws functions have made so far.
        """

        def compute(func: Function, *args: Any, **kwargs: Any) -> Any:
            if self._has_ended:
                return func(*args, **kwargs)
            versions = _versions((args, kwargs))
            result = func(*args, **kwargs)
            if num_draws() > 0:
                # Called again, the function would repeat its change in place.
                is_intact = versions is not None and versions == _versions((args, kwargs))
                self.end(is_intact)
                return result
            if func is Tensor.__iter__:  # an iterator could be gone through only once
                result = tuple(result)
            self._results.append((func, result))
            return iter(result) if func is Tensor.__iter__ else result

        return compute

    def end(self, is_intact: bool = True) -> None:
        """End the prefix: the first noise comes now."""
        if not self._has_ended:
            self._has_ended = True
            self._versions = self._current_versions() if is_intact else None

    def is_reusable(self) -> bool:
        """Return whether the prefix has ended, and nothing in it was changed in place since."""
        return self._versions is not None and self._versions == self._current_versions()

    def replayer(self) -> Function:
        """Return a function that returns the recorded results, as long as the same functions are called in order."""
        results = iter(self._results)
        same = True

        def compute(func: Function, *args: Any, **kwargs: Any) -> Any:
            nonlocal same
            nothing: tuple[Any, Any] = (None, None)
            kept, result = next(results, nothing) if same else nothing
            # Equal, not identical: torch makes a new getter of an attribute each time.
            same = kept == func
            if not same:
                return func(*args, **kwargs)
            return iter(result) if func is Tensor.__iter__ else result

        return compute

    def _current_versions(self) -> list[int] | None:
        return _versions([self.batch, [result for _, result in self._results]])


def _versions(held: Any) -> list[int] | None:
    """Return how often each tensor was changed in place, or None if one does not count that."""
    tensors = [part for part in leaves_of(held) if isinstance(part, Tensor)]
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return [TENSOR_VERSION.of(tensor) for tensor in tensors]
