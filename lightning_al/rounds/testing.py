"""Test a fit, and beside the module the mean of the posterior samples."""

from __future__ import annotations

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.evaluation import PosteriorHealth, PosteriorTest
from lightning_al.host.namespace import is_overridden, pl
from lightning_al.host.nested_fits import nested
from lightning_al.host.ranks import on_each_rank
from lightning_al.host.round_start import RoundStart
from lightning_al.host.trainer import callbacks_of, set_callbacks
from lightning_al.prediction.fitted import Fitted
from lightning_al.rounds.fit import CurrentFit
from lightning_al.rounds.members import purpose_of
from lightning_al.rounds.run import Run
from lightning_al.run.seeds import derive, seeded


def has_test(module: pl.LightningModule, data: ActiveDataModule) -> bool:
    """Return whether there is something to test with, and on."""
    return is_overridden("test_step", module) and is_overridden("test_dataloader", data)


def test(
    run: Run,
    fit: CurrentFit,
    start: RoundStart,
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
) -> None:
    """Test the module after a fit, as the user's program would, and note the metrics in the fit.

    Args:
        run: The run.
        fit: The fit that has ended.
        start: Keeps the trained layers in place while the module is set up for the test.
        trainer: The Trainer.
        module: The module.
        data: The data.
    """
    active = run.active
    if active.test is None or not has_test(module, data):
        return
    if fit.fitted is not None and active.test == "posterior":
        fit.posterior_test = PosteriorTest(fit.fitted, data.target)
    callbacks = list(callbacks_of(trainer))
    try:
        seed = derive(active.seed, run.round, *purpose_of("test", fit.member))
        with fit.clock("test"), nested(trainer), seeded(seed), start.tested(module):
            for metrics in trainer.test(module, datamodule=data, verbose=False):
                fit.metrics.update(metrics)
        # A module's `configure_callbacks` gave the test others, which know nothing of the fit.
        set_callbacks(trainer, callbacks)
        if fit.posterior_test is not None:
            _note_health(run, fit, fit.posterior_test.compute())
    finally:
        fit.posterior_test = None


def test_on_validation(run: Run, fit: CurrentFit, fitted: Fitted) -> None:
    """Test the posterior on the validation set if there is no test, after the selection, which does not change."""
    test = PosteriorTest(fitted, fitted.data.target)
    with fit.clock("test"), seeded(derive(run.active.seed, run.round, "test")):
        on_each_rank(fitted.trainer, test.update_from_validation)
    _note_health(run, fit, test.compute(), prefix="val_")


def _note_health(run: Run, fit: CurrentFit, health: PosteriorHealth | None, prefix: str = "") -> None:
    """Note both rows of scores for the history, and warn, once a run, where sampling harms."""
    if health is None:
        return
    fit.metrics.update({f"{prefix}{name}": value for name, value in health.to_dict().items()})
    if health.warning is not None:
        run.once.warn("posterior", f"`ActiveLearning`, round {run.round}: {health.warning}")
