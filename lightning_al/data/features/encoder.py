"""A frozen encoder: a module or a function that maps the inputs of a batch to features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_al.data.features.named import NamedEncoder
from lightning_al.data.features.used import code_of, used_by
from lightning_al.data.target import Target
from lightning_al.posterior.base import evaluating
from lightning_al.posterior.batches import leaves_of
from lightning_al.run.config import UnknownStateError, config_of
from lightning_al.values.content_hash import content_hash
from lightning_al.values.errors import said_shortly
from lightning_al.values.parts import described


class Encoder:
    """Map batches to features, the same whenever a batch comes again.

    Args:
        given: A module, a function of the inputs of a batch, or an encoder that is loaded by its name.

    >>> encoder = Encoder(nn.Flatten())
    >>> encoder.encode((torch.ones(2, 1, 3), torch.zeros(2)), Target()).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, given: nn.Module | Callable[[Any], Any] | NamedEncoder) -> None:
        self.given = given

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def config(self) -> dict[str, Any]:
        """Return what a run records of the encoder: a name, or a hash.

        The hash is of a module's weights, or of a function's source and of the networks and arrays that it uses.

        Raises:
            UnknownStateError: If a function holds what can say nothing of itself.
        """
        return self._config

    @cached_property
    def _config(self) -> dict[str, Any]:
        config = {"encoder": config_of(self.given)}
        used = [] if isinstance(self.given, NamedEncoder | nn.Module) else used_by(self.given)
        if used:
            config["uses"] = content_hash([repr(config_of(one)) for one in used])
        return config

    @cached_property
    def identity(self) -> str | None:
        """A hash that tells encoders apart, None where none can be made.

        It is of what a run records, of the weights that were loaded, and of the code of the user's networks.
        """
        try:
            loaded = config_of(self.function) if isinstance(self.given, NamedEncoder) else None
            code = [code_of(one) for one in self._networks]
            return content_hash([repr(self._config), repr(loaded), code])
        except UnknownStateError:
            return None

    @property
    def name(self) -> str:
        """What errors and the progress bar call it."""
        if isinstance(self.given, NamedEncoder):
            return self.given.name
        return getattr(self.given, "__qualname__", type(self.given).__name__)

    @cached_property
    def function(self) -> Any:
        """The module or function itself, loaded when it is first used."""
        return self.given.make() if isinstance(self.given, NamedEncoder) else self.given

    @property
    def _networks(self) -> list[nn.Module]:
        return [one for one in used_by(self.function) if isinstance(one, nn.Module)]

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Move a module to a device and to evaluation mode, and put both back.

        The networks that a function uses stay where they are, in evaluation mode.
        """
        module = self.function if isinstance(self.function, nn.Module) else None
        tensors = [] if module is None else [*module.parameters(), *module.buffers()]
        before = tensors[0].device if tensors else device
        # Weights that are moved in inference mode could never be trained again.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
            if module is not None and before != device:
                module.to(device)
            try:
                with ExitStack() as stack:
                    for network in self._networks:
                        stack.enter_context(evaluating(network))
                    yield
            finally:
                if module is not None and before != device:
                    module.to(before)

    def encode(self, batch: Any, target: Target | None) -> Tensor:
        """Return the features ``[n, D]`` of a batch, float32 on the CPU. Further axes are flattened.

        Args:
            batch: A batch, with labels or without, on the encoder's device.
            target: Where its labels are, or None where the batch is one input alone.

        Raises:
            TypeError: If the encoder returns no real numbers, or has weights of another type than the inputs.
            ValueError: If it has weights on another device than the inputs.
            Exception: What the encoder raised, with a note that says what its inputs were.
        """
        try:
            found = self._called(batch, target)
        except Exception as error:  # whatever an encoder may raise
            inputs = batch if target is None else target.inputs(batch)
            if isinstance(error, RuntimeError):
                self._explain(inputs, error)
            error.add_note(f"This was raised by the encoder `{self.name}` for inputs {described(inputs)}.")
            raise
        return self._rows(found)

    def _called(self, batch: Any, target: Target | None) -> Any:
        """Return what the module or function returns for the inputs of a batch."""
        if not isinstance(self.function, nn.Module) or isinstance(self.given, NamedEncoder):
            return self.function(batch if target is None else target.inputs(batch))
        arguments = (batch,) if target is None else target.arguments(batch)
        if isinstance(arguments, Mapping) and len(arguments) > 1:
            return self.function(**arguments)
        return self.function(*(arguments.values() if isinstance(arguments, Mapping) else arguments))

    def _rows(self, found: Any) -> Tensor:
        """Return what the encoder gave for a batch as features ``[n, D]``."""
        if isinstance(found, np.ndarray) and found.dtype.kind in "biuf":
            found = torch.from_numpy(np.array(found, dtype=np.float32))
        is_sparse = isinstance(found, Tensor) and found.layout != torch.strided
        if not isinstance(found, Tensor) or is_sparse or found.is_complex() or found.dim() == 0:
            raise TypeError(
                f"The encoder `{self.name}` should return features [n, D] for a batch, but got {described(found)}"
                f"{' that is sparse' * is_sparse}. Return a tensor of real numbers with a row for each point; of a "
                "module with other outputs, pass a function."
            )
        rows: Tensor = found.detach().to("cpu", torch.float32)
        return rows.unsqueeze(1) if rows.dim() == 1 else rows.flatten(1)

    def _explain(self, inputs: Any, error: RuntimeError) -> None:
        """Say which types or devices do not fit where torch says that some do not."""
        weights = [one for network in self._networks for one in network.parameters() if one.is_floating_point()]
        given = [one for one in leaves_of(inputs) if isinstance(one, Tensor)]
        types, input_types = {one.dtype for one in weights}, {one.dtype for one in given}
        if "type" in str(error) and types and not input_types <= types:
            raise TypeError(
                f"The encoder `{self.name}` has weights of {_listed(types)}, but got inputs {described(inputs)}: "
                f"{said_shortly(error)}. Pass a module or items in the type of the other, such as `module.float()` for "
                "inputs of float32, or a function that casts the inputs."
            ) from error
        devices, input_devices = {one.device for one in weights}, {one.device for one in given}
        if "device" in str(error) and devices and not input_devices <= devices:
            raise ValueError(
                f"The encoder `{self.name}` has weights on {_listed(devices)}, but got inputs on "
                f"{_listed(input_devices)}: {said_shortly(error)}. Pass the module itself, which is moved, or let the "
                "function move its inputs."
            ) from error


def _listed(things: set[Any]) -> str:
    return ", ".join(sorted(str(one).removeprefix("torch.") for one in things))
