"""Whether a network returns the sigmoid of its logit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.loaders import to_device
from lightning_al.host.namespace import pl
from lightning_al.posterior.base import Forward, evaluating
from lightning_al.prediction.dry_pass import unchanged
from lightning_al.prediction.predictions import predicting
from lightning_al.run.seeds import derive, seeded

INTO_0_TO_1 = {
    torch.sigmoid,
    Tensor.sigmoid,
    torch.special.expit,
    torch.nn.functional.hardsigmoid,
    torch.softmax,
    Tensor.softmax,
    torch.nn.functional.softmax,
    torch.clamp,
    Tensor.clamp,
}
"""Functions that give probabilities, or what is cut off like these."""


def ends_in_sigmoid(trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, forward: Forward) -> bool:
    """Return whether the last function that made a network's outputs gives numbers from 0 to 1, by two points."""
    noted = _LastValues()
    with suppress(Exception), seeded(derive(data.seed, "outputs")), unchanged(module):
        batch = next(iter(data.pool_dataloader(data.pool.labelled[:2])))
        with predicting(trainer), evaluating(module):
            batch = to_device(trainer, module, batch)
            with noted:
                output = forward(module, batch)
            return _storage(output) in noted.storages
    return False


class _LastValues(TorchFunctionMode):
    """Note where the results of such functions are kept, which a view of them shares."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: set[int] = set()
        self._held: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in INTO_0_TO_1 and isinstance(result, Tensor):
            self._held.append(result)  # so that no other tensor is put there
            self.storages.add(_storage(result))
        return result


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
