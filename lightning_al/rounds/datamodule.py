"""The datamodule of a Trainer that runs active learning."""

from __future__ import annotations

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl


def datamodule_of(trainer: pl.Trainer) -> ActiveDataModule:
    """Return the Trainer's `ActiveDataModule`.

    Raises:
        TypeError: If it has another datamodule, or none.
    """
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ActiveDataModule):
        got = "no datamodule" if data is None else f"`{type(data).__name__}`"
        raise TypeError(
            f"`ActiveLearning` needs an `ActiveDataModule`, which splits the training data into labelled points and a "
            f"pool, but the Trainer has {got}. Call `trainer.fit(model, datamodule=ActiveDataModule(data, "
            "initial_size=20))`."
        )
    return data
