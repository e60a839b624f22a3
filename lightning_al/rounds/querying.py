"""Select a query with the weights that the module has: after a fit, and on trial before the first step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lightning_al.acquisition.base import check_selection, plain_metrics
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl, rank_zero_warn
from lightning_al.host.ranks import on_each_rank
from lightning_al.oracle import reveals
from lightning_al.prediction.dry_pass import FEW_LABELLED, dry_pass, unchanged
from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.selecting import PoolPasses
from lightning_al.prediction.task_check import TaskCheck
from lightning_al.prediction.unscorable import UnscorableError, said_of_left_out
from lightning_al.rounds.audit import try_audit
from lightning_al.rounds.fit import CurrentFit
from lightning_al.rounds.fitted_for import fitted_for
from lightning_al.rounds.members import Fits, fit_seeds
from lightning_al.rounds.pseudo_labels import try_pseudo_labels
from lightning_al.rounds.run import Run
from lightning_al.run.memory import peak_bytes
from lightning_al.run.seeds import derive, generator, seeded


def fitted_now(
    run: Run,
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    labelled: Sequence[int] | None = None,
) -> Fitted:
    """Return what predicts with the weights that the module has now.

    Args:
        run: The run.
        trainer: The Trainer.
        module: The module, on its device.
        data: The data.
        labelled: The labelled points that a posterior may pass over, where it is a trial; by default all, and the
            fits of the round that have ended count too.
    """
    active = run.active
    seeds = fit_seeds(active.seed, run.round, active.num_fits)
    before = run.members.fits if labelled is None else []
    return fitted_for(
        active,
        trainer,
        module,
        data,
        number=run.round,
        fits=Fits(before, module, seeds[len(before) :]),
        check=_task_check(run, module, data),
        say=lambda said: run.once.info("task", f"`ActiveLearning`: {said}"),
        labelled=labelled,
    )


def try_out(run: Run, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
    """Score a few points before the first step, as Lightning validates a few batches."""
    active = run.active
    b = active.num_to_query(run.round, data.pool)
    if trainer.num_sanity_val_steps == 0 or b == 0 or run.done or _has_only_left_out(run, data):
        return
    fitted = fitted_now(run, trainer, module, data, data.pool.labelled[:FEW_LABELLED])
    dry_pass(
        fitted,
        acquisition=active.acquisition,
        query_size=b,
        check=_task_check(run, module, data),
        seed=active.seed,
        number=run.round,
        skip=active.skips_unscorable,
    )
    with unchanged(module), seeded(derive(active.seed, run.round, "audit")):
        try_audit(fitted)
        try_pseudo_labels(fitted)


def select(
    run: Run,
    fit: CurrentFit,
    fitted: Fitted,
    b: int,
    *,
    checks_labels: bool,
    check_stopped: Callable[[], None],
) -> None:
    """Select the next query, and note it in the fit.

    Args:
        run: The run.
        fit: The fit that has ended.
        fitted: What predicts with its weights.
        b: How many points to select.
        checks_labels: Whether to check the dataset's labels against the task. The later rounds of a call need not.
        check_stopped: Raises an error where the process was told to stop.
    """
    active, trainer, data = run.active, fitted.trainer, fitted.data
    passes = PoolPasses(
        fitted,
        check=_task_check(run, fitted.module, data) if checks_labels else None,
        skip=active.skips_unscorable,
        timed=lambda chunks: fit.timed(chunks, "score", check_stopped),
    )
    before = run.unscorable
    began = time.perf_counter()
    try:
        selection, points, left_out = on_each_rank(
            trainer,
            lambda: passes.select(active.acquisition, b, lambda: generator(active.seed, run.round, "select"), before),
        )
    except UnscorableError as error:
        if not (error.is_of_pool and _has_only_left_out(run, data)):
            raise
        # Nothing else is left in the pool, so the run is done.
        fit.unscorable = list(error.reasons)
        rank_zero_warn(f"`ActiveLearning`, round {run.round}: {said_of_left_out(error.reasons, 0)}")
        return
    # A sum of floats may differ between machines; one rank's selection is everybody's.
    metrics = plain_metrics(active.acquisition, selection.metrics)
    positions, scores, details, warning = trainer.strategy.broadcast(
        (selection.positions.tolist(), selection.scores.tolist(), metrics, selection.warning)
    )
    check_selection(active.acquisition, positions, scores, min(b, len(points)), len(points))
    fit.seconds["select"] = time.perf_counter() - began - fit.seconds.get("score", 0.0)
    fit.peak_bytes.update(peak_bytes("select"))
    fit.indices = [points[position] for position in positions]
    fit.scores, fit.details, fit.warning = scores, details, warning
    fit.unscorable = list(left_out)
    if left_out and list(left_out) != before:
        rank_zero_warn(f"`ActiveLearning`, round {run.round}: {said_of_left_out(left_out, len(points))}")
    if warning is not None:
        run.once.warn("acquisition", f"`ActiveLearning`, round {run.round}: {warning}")


def _task_check(run: Run, module: pl.LightningModule, data: ActiveDataModule) -> TaskCheck:
    return TaskCheck(data, type(module).__name__, revealed=reveals(run.active.oracle))


def _has_only_left_out(run: Run, data: ActiveDataModule) -> bool:
    """Return whether every unlabelled point is one that the round before could not score."""
    return run.active.skips_unscorable and set(run.unscorable).issuperset(data.pool.unlabelled)
