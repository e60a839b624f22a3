"""Call a module for scoring, and explain a failure: what it was called with, and what to pass instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from lightning_al.posterior.base import Forward, PosteriorError
from lightning_al.task.outputs import OutputError, find_logits
from lightning_al.values.parts import described

OF_CODE = (TypeError, ValueError, AttributeError, IndexError, NotImplementedError, RuntimeError)
"""Exceptions of Python and torch that are raised again with more words; those of other classes get a note."""


class CallError(ValueError):
    """A module cannot be called on the inputs of a batch; the message says why."""


def said_clearly(forward: Forward, inputs: Callable[[Any], Any] | None) -> Forward:
    """Return a function that calls `forward`, reads the logits of what it returns, and explains its exceptions.

    Args:
        forward: A function of a module and a batch.
        inputs: Returns the inputs of a batch, where the function calls the module on these; None where it is the
            user's own.
    """

    def call(module: nn.Module, batch: Any) -> Tensor:
        try:
            return find_logits(forward(module, batch))  # type: ignore[no-any-return]
        except (CallError, PosteriorError, OutputError):
            raise
        except Exception as error:  # whatever a user's code may raise
            said = _said(module, batch, inputs, error)
            if type(error) is KeyError:
                raise ValueError(said) from error
            if type(error) in OF_CODE:
                raise type(error)(said) from error
            error.add_note(said)
            raise

    return call


def _said(module: nn.Module, batch: Any, inputs: Callable[[Any], Any] | None, error: Exception) -> str:
    name, why = type(module).__name__, " ".join(str(error).split())[:300]
    why = why if why.endswith((".", "!", "?")) else f"{why}."
    if inputs is None:
        return (
            f"The function given as `forward=` failed on a batch {described(batch)}: {type(error).__name__}: {why} "
            f"It is called with the `{name}` and the batch, on the module's device and with labels hidden. Let it "
            "return the module's outputs."
        )
    own: Any = type(module)
    if isinstance(error, NotImplementedError) and own.forward in (nn.Module.forward, _inherited(module)):
        part = next((name for name, _ in module.named_children()), "net")
        return (
            f"`{name}` has no `forward`, by which the pool is scored. Define it, or pass `forward=`, a function of the "
            f"module and the batch that returns logits [batch, classes], such as `forward=lambda module, batch: "
            f"module.{part}({_example(batch)})`."
        )
    return (
        f"`{name}` failed when it was called on the inputs of a batch, which are {described(inputs(batch))}: "
        f"{type(error).__name__}: {why} Pass `forward=`, a function of the module and the batch that calls the module "
        f"as `training_step` does and returns logits [batch, classes], such as `forward=lambda module, batch: "
        f"module({_example(batch)})`."
    )


def _inherited(module: nn.Module) -> Any:
    """Return the `forward` of Lightning's own class, which only calls that of torch's."""
    lightnings = [cls for cls in type(module).__mro__ if cls.__name__ == "LightningModule"]
    return getattr(lightnings[0], "forward", None) if lightnings else None


def _example(batch: Any) -> str:
    """Return how one would most likely write the first input of a batch."""
    if isinstance(batch, Mapping):
        return f"batch[{next(iter(batch), 'x')!r}]"
    if isinstance(batch, tuple | list):
        nested = bool(batch) and isinstance(batch[0], tuple | list)
        return "*batch[0]" if nested else "batch[0]"
    return "batch"
