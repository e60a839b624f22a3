"""What predicts with the weights that a module has, for the arguments of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl
from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.sigmoid import ends_in_sigmoid
from lightning_al.prediction.task_check import TaskCheck
from lightning_al.rounds.arguments import Arguments
from lightning_al.rounds.members import Fits
from lightning_al.run.seeds import derive
from lightning_al.task import TASKS, Guessed


def fitted_for(
    active: Arguments,
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    number: int,
    fits: Fits,
    check: TaskCheck,
    say: Callable[[str], object],
    labelled: Sequence[int] | None = None,
) -> Fitted:
    """Return what predicts with the weights that a module has now, with the samples of a round.

    Args:
        active: The arguments of a run.
        trainer: The Trainer.
        module: The module, on its device.
        data: The data.
        number: Number of the round.
        fits: Its fits.
        check: Tells a task of two classes where none is named.
        say: Says which task was guessed.
        labelled: The labelled points that a posterior may pass over, by default all.
    """
    forward = active.forward_on(data)
    known = active.acquisition.tasks & set(TASKS)
    task = next(iter(known)) if active.task is None and len(known) == 1 else active.task
    guessed = Guessed(check.are_of_two_classes, lambda: ends_in_sigmoid(trainer, module, data, forward), say)
    return Fitted(
        trainer,
        module,
        data,
        posterior=active.posterior,
        last_layer=active.last_layer,
        forward=forward,
        task=guessed if task is None else TASKS[task],
        seed=derive(active.seed, number, "posterior"),
        fits=fits,
        labelled=labelled,
        reads_predictions=active.acquisition.tasks <= set(TASKS),
    )
