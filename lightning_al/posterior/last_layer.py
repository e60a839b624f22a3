"""Embeddings, the inputs of a network's last layer, and the factors of its gradients.

Axes: n points of a batch, D embedding dimensions, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from lightning_al.posterior.base import Forward, PosteriorError, evaluating
from lightning_al.posterior.compiled import written_name
from lightning_al.posterior.layer_calls import Call, calls_of, output_call
from lightning_al.posterior.sources import Sources
from lightning_al.task.outputs import find_logits, find_output

DTYPES = {"float32": torch.float32, "float16": torch.float16}


@final
@dataclass(frozen=True)
class LastLayer:
    """Read the embedding of each point, the input of the last linear layer, in evaluation mode.

    The residual is read too: the probabilities minus 1 for the likeliest class. If the layer's outputs are the logits,
    residual times embedding is the gradient of its weights for the label that the network predicts, and the residual
    that of its bias, as BADGE uses them (Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower
    Bounds", ICLR 2020). Only the two factors are kept, not their D C products.

    The last linear layer is the last one called whose outputs become those of the network without another layer in
    between. They may be scaled, clipped, squashed, chosen from, joined or added on the way. Of several layers whose
    outputs are added, as with LoRA, the one with most inputs is read. The first batch of each pass tells which it is.

    Args:
        layer: Name of the layer to read the input of, as in `named_modules`, if it is another one. Without it, there
            is a warning if no linear layer makes the outputs, as with a convolution at the end.
        dtype: "float16" halves the memory of embeddings and residuals. Each number is off by at most 1 part in 2,048
            (below 6e-5: by at most 3e-8).

    Raises:
        ValueError: If `dtype` is another one.

    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.5), nn.Linear(2, 2, bias=False))
    >>> for weight in net.parameters():
    ...     weight.data = torch.eye(2)
    >>> batches = [torch.tensor([[1.0, 1.0]])]
    >>> [(embeddings, residuals)] = LastLayer().read(
    ...     net, batches, forward=lambda net, x: net(x), log_probs=lambda logits: logits.log_softmax(1)
    ... )
    >>> embeddings.tolist(), residuals.tolist()
    ([[1.0, 1.0]], [[-0.5, 0.5]])
    """

    layer: str | None = None
    dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(
                f"`LastLayer` expected `dtype` to be one of {', '.join(DTYPES)}, but got {self.dtype!r}. Choose one of "
                "them."
            )

    def read(
        self,
        module: nn.Module,
        batches: Iterable[Any],
        *,
        forward: Forward,
        log_probs: Callable[[Tensor], Tensor] | None,
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield embeddings ``[n, D]`` and residuals ``[n, C]`` for each batch.

        Args:
            module: The network.
            batches: Collated batches.
            forward: Maps the network and a batch to raw outputs.
            log_probs: Maps raw outputs to log-probabilities ``[n, C]``, or None to yield embeddings alone. Outputs may
                then be anything.

        Raises:
            ValueError: If there is no such layer, if it is not called, if the outputs do not fit the task, or if an
                embedding does not fit into `dtype`.
        """
        layers: dict[str, nn.Module] = {}
        name = self.layer
        for batch in batches:
            layers = layers or self._layers(module)
            sources = Sources() if name is None else None
            with evaluating(module):
                with calls_of(layers, name, sources) as calls:
                    outputs = find_logits(forward(module, batch))
                if not calls:
                    raise PosteriorError(
                        f"`LastLayer` expected `{type(module).__name__}` to use its {self._what()}, but the forward "
                        "pass did not call it. Pass `layer=`, the name of a layer that is called."
                    )
                if sources is not None:
                    # The first batch tells from which layer all are read.
                    call = self._call_of_outputs(list(calls.values()), outputs, sources, module)
                    name = call.name
                else:
                    [call] = calls.values()
                rows = self._stored(call.given.flatten(1), "embeddings")
                # The hooks are removed by now: a task that is not known yet calls the module again.
                log_probs_n_C = None if log_probs is None else log_probs(find_output(outputs))
            yield (rows,) if log_probs_n_C is None else (rows, self._stored(_residuals(log_probs_n_C), "residuals"))

    def _call_of_outputs(self, calls: list[Call], outputs: Any, sources: Sources, module: nn.Module) -> Call:
        """Return the call of the layer that makes the outputs, or the last one, with a warning."""
        call = output_call(calls, outputs, sources)
        if call is None:
            call = calls[-1]
            warnings.warn(
                f"`LastLayer` reads the input of {call.name!r}, the last linear layer that `{type(module).__name__}` "
                "calls, but its outputs do not become those of the network. Pass `last_layer=LastLayer(layer=...)`, "
                "the name of the layer whose input is the embedding.",
                stacklevel=2,
            )
        return call

    def _layers(self, module: nn.Module) -> dict[str, nn.Module]:
        layers = {written_name(name): layer for name, layer in module.named_modules()}
        found = {
            name: layer
            for name, layer in layers.items()
            if (isinstance(layer, nn.Linear) if self.layer is None else name == self.layer)
        }
        if not found:
            names = ", ".join(name for name in layers if name)
            raise ValueError(
                f"`LastLayer` found no {self._what()} in `{type(module).__name__}`. Pass `layer=`, one of: {names}."
            )
        return found

    def _what(self) -> str:
        return "linear layer" if self.layer is None else f"layer {self.layer!r}"

    def _stored(self, values: Tensor, what: str) -> Tensor:
        stored = values.detach().to(DTYPES[self.dtype])
        if self.dtype == "float16" and bool((stored.isinf() & values.isfinite()).any()):
            raise ValueError(
                f"`LastLayer(dtype='float16')` expected {what} of at most 65,504, but got "
                f"{float(values.abs().max()):.4g}. Pass `dtype='float32'`."
            )
        return stored


def _residuals(log_probs_n_C: Tensor) -> Tensor:
    probs_n_C = log_probs_n_C.exp()
    return probs_n_C - nn.functional.one_hot(probs_n_C.argmax(1), probs_n_C.shape[1])
