"""What the layers of a network are called with, and which of the calls makes its outputs.

Axes: n points of a batch, D inputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_al.posterior.sources import Sources


@dataclass(frozen=True)
class Call:
    """A call of a layer.

    Attributes:
        name: The name of the layer.
        given: A copy of its first input, since the layer or what follows may change that in place.
        num_outputs: The number of outputs for each row, if it returned a tensor.
    """

    name: str
    given: Any
    num_outputs: int | None

    @property
    def num_inputs(self) -> int:
        """The number of inputs for each row."""
        return self.given.shape[-1] if isinstance(self.given, Tensor) and self.given.dim() > 0 else 0

    @property
    def is_table(self) -> bool:
        """Whether the input has one row for each point ``[n, D]``."""
        return isinstance(self.given, Tensor) and self.given.dim() <= 2


@contextmanager
def calls_of(
    layers: Mapping[str, nn.Module], noted: str | None, sources: Sources | None = None
) -> Iterator[dict[Any, Call]]:
    """Record the last call of each layer, in the order of the calls.

    Of calls with a row for each token or pixel, which take much memory, only the last of each size is kept.

    Args:
        layers: The layers by name. All get hooks, since PyTorch computes some layers with hooks in another way.
        noted: The only layer to record, or None for all.
        sources: Is told what the layers return.
    """
    calls: dict[Any, Call] = {}
    given: dict[str, Any] = {}

    def note_input(name: str, inputs: Sequence[Any]) -> None:
        if noted in (name, None):
            for value in inputs[:1]:
                given[name] = value.clone() if isinstance(value, Tensor) else value

    def note_call(name: str, made: Any) -> None:
        if name not in given:
            return
        if sources is not None:
            sources.add(name, made)
        call = Call(name, given.pop(name), made.shape[-1] if isinstance(made, Tensor) and made.dim() > 0 else None)
        key = name if noted or call.is_table else call.num_outputs
        calls.pop(key, None)
        calls[key] = call

    hooks = []
    for name, layer in layers.items():
        hooks += [
            layer.register_forward_pre_hook(
                lambda _, inputs, named, name=name: note_input(name, [*inputs, *named.values()]), with_kwargs=True
            ),
            layer.register_forward_hook(lambda _, inputs, made, name=name: note_call(name, made)),
        ]
    try:
        with sources or nullcontext():
            yield calls
    finally:
        for hook in hooks:
            hook.remove()


def output_call(calls: Sequence[Call], outputs: Any, sources: Sources) -> Call | None:
    """Return the call of a linear layer that makes the outputs, or None if no linear layer does.

    It is the last call whose outputs become those of the network without another layer in between. Where several do,
    as in a sum, those with as many outputs come first, and of these the one with most inputs.

    Args:
        calls: At least one call.
        outputs: What the network returned. If it is not a tensor, the last call is returned.
        sources: Knows of which layers' outputs they consist.
    """
    if not isinstance(outputs, Tensor):
        return calls[-1]
    names = sources.of(outputs)
    direct = [call for call in calls if call.name in names]
    num_outputs = outputs.shape[-1] if outputs.dim() > 1 else 1
    alike = [call for call in direct if call.num_outputs == num_outputs] or direct
    return max(reversed(alike), key=lambda call: call.num_inputs, default=None)
