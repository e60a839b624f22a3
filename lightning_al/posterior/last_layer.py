"""Embeddings, the inputs of a network's last layer, and the factors of its gradients.

Axes: n points of a batch, D embedding dimensions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from lightning_al.posterior.base import Forward, PosteriorError, evaluating
from lightning_al.posterior.compiled import written_name
from lightning_al.task.outputs import find_output

DTYPES = {"float32": torch.float32, "float16": torch.float16}


@final
@dataclass(frozen=True)
class LastLayer:
    """Read the embedding of each point, the input of the last linear layer, in evaluation mode.

    The residual is read too: the probabilities minus 1 for the likeliest class. If the layer's outputs are the logits,
    residual times embedding is the gradient of its weights for the label that the network predicts, and the residual
    that of its bias, as BADGE uses them (Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower
    Bounds", ICLR 2020). Only the two factors are kept, not their D C products.

    Args:
        layer: Name of another layer to read the input of, as in `named_modules`.
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
        log_probs: Callable[[Tensor], Tensor],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield embeddings ``[n, D]`` and residuals ``[n, C]`` for each batch.

        Args:
            module: The network.
            batches: Collated batches.
            forward: Maps the network and a batch to raw outputs.
            log_probs: Maps raw outputs to log-probabilities ``[n, C]``.

        Raises:
            ValueError: If there is no such layer, if it is not called, or if an embedding does not fit into `dtype`.
        """
        for batch in batches:
            with evaluating(module):
                with self._noting(module) as noted:
                    outputs = find_output(forward(module, batch))
                # Without the hooks, since a task that is not known yet calls the module again.
                log_probs_n_C = log_probs(outputs)
            if not noted:
                raise PosteriorError(
                    f"`LastLayer` expected `{type(module).__name__}` to use its {self._what()}, but the forward pass "
                    "did not call it. Pass `layer=`, the name of a layer that is called."
                )
            probs_n_C = log_probs_n_C.exp()
            likeliest_n_C = nn.functional.one_hot(probs_n_C.argmax(1), probs_n_C.shape[1])
            yield self._stored(noted[-1].flatten(1), "embeddings"), self._stored(probs_n_C - likeliest_n_C, "residuals")

    @contextmanager
    def _noting(self, module: nn.Module) -> Iterator[list[Tensor]]:
        """Record the last input of the layer."""
        noted: list[Tensor] = []

        def note(layer: nn.Module, inputs: tuple[Any, ...], by_name: dict[str, Any]) -> None:
            # A copy, since the layer or what follows may change its input in place.
            noted[:] = [value.clone() for value in [*inputs, *by_name.values()][:1]]

        hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in self._layers(module)]
        try:
            yield noted
        finally:
            for hook in hooks:
                hook.remove()

    def _layers(self, module: nn.Module) -> list[nn.Module]:
        layers = {written_name(name): layer for name, layer in module.named_modules()}
        found = [
            layer
            for name, layer in layers.items()
            if (isinstance(layer, nn.Linear) if self.layer is None else name == self.layer)
        ]
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
