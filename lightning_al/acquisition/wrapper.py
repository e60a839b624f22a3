"""The base class of acquisition functions that select by another one."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.registry import create
from lightning_al.values.whole_numbers import shown


@dataclass(frozen=True)
class Wrapper(Acquisition):
    """Base class of acquisition functions that select by another one.

    It reads the outputs of the same tasks as the other one, and needs as many posterior samples.

    Args:
        acquisition: The other acquisition function: a name or an object, which may be a wrapper too.

    Raises:
        TypeError: If it is not an acquisition function.
        ValueError: If the name is unknown.
    """

    acquisition: Acquisition | str

    def __post_init__(self) -> None:
        inner = create(self.acquisition)
        if not isinstance(inner, Acquisition):
            raise TypeError(
                f"`{type(self).__name__}` selects by another acquisition function, but got {shown(inner)}. Pass its "
                "name, or an object such as `BALD()`."
            )
        object.__setattr__(self, "acquisition", inner)
        object.__setattr__(self, "min_samples", inner.min_samples)
        object.__setattr__(self, "tasks", inner.tasks)

    @property
    def inner(self) -> Acquisition:
        """The other acquisition function as an object."""
        assert isinstance(self.acquisition, Acquisition)
        return self.acquisition
