"""What the fits of a run start from: weights, and predictions of the round before that are trained on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl
from lightning_al.prediction.scoring import give_shapes
from lightning_al.rounds.arguments import Arguments
from lightning_al.rounds.members import check_can_be_drawn
from lightning_al.run.folder import end_name, pseudo_labels_name
from lightning_al.run.journal import Journal
from lightning_al.run.journal_command import command
from lightning_al.run.labels import Label
from lightning_al.run.same_run import check_same_weights
from lightning_al.run.seeds import derive, seeded
from lightning_al.run.weights import copy_weights, put_weights, reset_parameters, uninitialised, with_more_rows
from lightning_al.run.weights_file import load_weights


class Starts:
    """Keep what the fits of a run start from, and put it into the module.

    Attributes:
        initial: The weights before the first fit, or None where they are not known yet.
        ends: What the last rounds hand on to the next, by the names under which it is saved: the weights that their
            fits ended with, for ``reset="warm"``, and their pseudo-labels.
    """

    def __init__(self) -> None:
        self.initial: dict[str, Tensor] | None = None
        self.ends: dict[str, dict[str, Tensor]] = {}

    @property
    def at_hand(self) -> dict[str, dict[str, Tensor]]:
        """All of them by the names under which they are saved."""
        return ({} if self.initial is None else {"initial": self.initial}) | self.ends

    def reset(
        self,
        active: Arguments,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        data: ActiveDataModule,
        number: int,
        member: int,
    ) -> None:
        """Put into the module what a fit of a round starts from.

        Args:
            active: The arguments of the run.
            trainer: The Trainer.
            module: The module.
            data: The data.
            number: Number of the round.
            member: Which fit of the round begins, from 0.
        """
        assert self.initial is not None
        remedy = "begin another run with a new `ActiveLearning` and a new `ActiveDataModule`"
        check_same_weights("the run's start", self.initial, module, remedy)
        if active.num_fits > 1 and not callable(active.reset):
            check_can_be_drawn(active.posterior, module)
        if member == 0 and (number == 0 or active.reset == "initial"):
            put_weights(module, self.initial)
        elif callable(active.reset):
            new = copy_weights(_new_module(active, trainer, data, active.reset))
            check_same_weights("a module of `reset=`", new, module, "let `reset=` make it of the same shape")
            put_weights(module, new)
        elif active.reset == "warm" and number > 0:
            end = end_name(number - 1, member)
            if end not in self.ends:
                assert active.folder is not None
                self.ends[end] = loaded(active.folder, end, module, self.initial)  # a new folder may need it
            put_weights(module, self.ends[end])
        else:
            put_weights(module, self.initial)  # for the buffers
            reset_parameters(module)

    def pseudo_labels(self, active: Arguments, data: ActiveDataModule, number: int) -> dict[int, Label]:
        """Return the predicted classes, by index, that a round trains on, without points that have left the pool.

        Args:
            active: The arguments of the run.
            data: The data.
            number: Number of the round.
        """
        if data.pseudo_labels is None or number == 0:
            return {}
        name = pseudo_labels_name(number - 1)
        if name not in self.ends:
            if active.folder is None or (active.force and not (Path(active.folder) / f"{name}.pt").exists()):
                return {}  # it was forced that the run has pseudo-labels from here on
            self.ends[name] = load_weights(active.folder, name)
        indices, classes = self.ends[name]["indices"].tolist(), self.ends[name]["classes"].tolist()
        unlabelled = set(data.pool.unlabelled)
        return {index: label for index, label in zip(indices, classes, strict=True) if index in unlabelled}

    def keep_pseudo_labels(self, number: int, labels: Mapping[int, int]) -> None:
        """Keep the predicted classes after a round, and forget those of the round before the last."""
        indices, classes = (torch.tensor(list(part), dtype=torch.int64) for part in (labels, labels.values()))
        self.ends[pseudo_labels_name(number)] = {"indices": indices, "classes": classes}
        self.ends.pop(pseudo_labels_name(number - 2), None)

    def keep_ends(self, number: int, ends: Sequence[Mapping[str, Tensor]]) -> None:
        """Keep what the fits of a round ended with, and forget those of the round before the last.

        The last but one are kept too, since a larger budget takes the last round back.
        """
        for member, end in enumerate(ends):
            self.ends[end_name(number, member)] = dict(end)
            self.ends.pop(end_name(number - 2, member), None)

    def save_ends(self, journal: Journal, number: int, num_fits: int) -> None:
        """Save what a round hands on to the next."""
        names = [*(end_name(number, member) for member in range(num_fits)), pseudo_labels_name(number)]
        for name in names:
            if name in self.ends:
                journal.save_weights(name, self.ends[name])


def loaded(
    folder: str | os.PathLike[str], name: str, module: nn.Module, initial: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return weights that a run's folder has by a name.

    Args:
        folder: The run's folder.
        name: The name.
        module: The module that they are for.
        initial: The weights before the first fit, whose rows those of a class get that was added later.

    Raises:
        ValueError: If they are not those of such a module.
    """
    weights = load_weights(folder, name)
    if initial is not None:
        weights = with_more_rows(weights, initial) or weights
    check_same_weights(f"{folder}/{name}.pt", weights, module)
    return weights


def loaded_initial(
    folder: str | os.PathLike[str], module: nn.Module, seed: int, *, may_grow: bool
) -> tuple[dict[str, Tensor], bool]:
    """Return the weights before the first fit that a run's folder has, and whether a class was added since then.

    The weights of its output are drawn with a seed of their own, so every process draws the same.

    Args:
        folder: The run's folder.
        module: The module that they are for.
        seed: Seed of the run.
        may_grow: Whether the run's classes changed.

    Raises:
        ValueError: If they are not those of such a module.
    """
    weights, own = load_weights(folder, "initial"), copy_weights(module)
    sizes = [len(value) for name, value in own.items() if isinstance(value, Tensor) and value.ndim > 0]
    grown = with_more_rows(weights, own, seed=derive(seed, "classes", *sizes), module=module)
    if grown is not None and may_grow:
        return grown, True
    remedy = "choose another folder"
    if grown is not None:
        remedy = f"say first which class is new, by `{command('add-class', folder, 'NAME')}`"
    check_same_weights(f"{folder}/initial.pt", weights, module, remedy)
    return weights, False


def give_lazy_layers_shapes(
    active: Arguments, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule
) -> None:
    """Let lazy layers learn their shapes from two labelled points, so that there are weights to start from."""
    if uninitialised(module):
        with seeded(derive(active.seed, "lazy")):
            give_shapes(trainer, module, data, forward=active.forward_on(data))


def _new_module(
    active: Arguments, trainer: pl.Trainer, data: ActiveDataModule, make: Callable[[], nn.Module]
) -> nn.Module:
    """Return a new module, with the layers that it builds in `setup` or `configure_model`."""
    module = make()
    if isinstance(module, pl.LightningModule):
        module.trainer = trainer
        module.setup("fit")
        module.configure_model()
        give_lazy_layers_shapes(active, trainer, module, data)
    return module
