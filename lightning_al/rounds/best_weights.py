"""Choose the weights of a fit: those of its best checkpoint, or the last."""

from __future__ import annotations

from lightning_al.host.namespace import is_overridden, pl
from lightning_al.host.round_checkpoints import RoundCheckpoints
from lightning_al.rounds.fit import CurrentFit
from lightning_al.rounds.run import Run
from lightning_al.run.inert import read_plain_parts, read_weights


def choose_weights(run: Run, fit: CurrentFit, trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Put the best weights of the fit into the module, where a ModelCheckpoint knows them, and note their metric."""
    if run.active.weights == "last":
        return
    best = RoundCheckpoints.best(trainer)
    if best is None:
        run.once.info(
            "last weights",
            "`ActiveLearning(weights='best')` found no ModelCheckpoint that monitors a metric, so each round "
            "keeps its last weights.",
        )
        return
    load_best(module, best.best_model_path)
    if best.best_model_score is not None:
        fit.metrics[str(best.monitor)] = float(best.best_model_score)


def load_best(module: pl.LightningModule, path: str) -> None:
    """Load the weights of a checkpoint as Lightning does, by what the module says of its checkpoints."""
    weights = read_weights(path)
    if (
        module.strict_loading
        and list(weights) != list(module.state_dict())
        and is_overridden("on_load_checkpoint", module)
    ):
        # The module wrote them in another form, which it undoes there.
        checkpoint = read_plain_parts(path)
        module.on_load_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
    module.load_state_dict(weights, strict=module.strict_loading)
