"""A table of the pool: how much each unlabelled item is worth a label, and what the model takes it for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pandas as pd

from lightning_al.acquisition import Acquisition, Entropy, ScoreAcquisition, available
from lightning_al.acquisition.registry import acquisitions
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import check_namespace, pl, rank_zero_info
from lightning_al.host.outside_fit import use_outside_fit
from lightning_al.host.ranks import from_first_rank, on_each_rank
from lightning_al.host.strategies import check_strategy
from lightning_al.host.trainer import callbacks_of
from lightning_al.posterior import Posterior
from lightning_al.posterior.base import Forward
from lightning_al.prediction.dry_pass import unchanged
from lightning_al.prediction.selecting import PoolPasses, ScoredPool
from lightning_al.prediction.task_check import TaskCheck
from lightning_al.rounds.arguments import Arguments
from lightning_al.rounds.fitted_for import fitted_for
from lightning_al.rounds.items import recall_run
from lightning_al.rounds.members import Fits, fit_seeds
from lightning_al.run.seeds import derive, generator, seeded
from lightning_al.run.weights import uninitialised


def score_pool(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    datamodule: ActiveDataModule,
    *,
    acquisition: Acquisition | str | None = None,
    posterior: Posterior | str | None = None,
    forward: Forward | None = None,
    task: Literal["multiclass", "binary"] | None = None,
    seed: int | None = None,
    unscorable: Literal["raise", "skip"] | None = None,
    probabilities: bool = False,
) -> pd.DataFrame:
    """Score every unlabelled item, and predict its class, without a fit and without a query.

    The pool is that of the datamodule as it stands, without audit points (see `ActiveDataModule(audit=...)`): a run in
    a folder labels it when `trainer.fit` resumes the run. The scores are those that a round of `ActiveLearning`
    computes with the same weights and seed, on the Trainer's devices and ranks and in its precision. Model, Trainer,
    datamodule and the global random generators are as before afterwards, except that the datamodule has a pool once it
    was set up. Every rank of a distributed program calls the function, and gets the same table.

    Each argument that is None has the value of the `ActiveLearning` among the Trainer's callbacks, or else the default
    that is described here.

    Args:
        trainer: The Trainer, which may have fitted the model or not.
        model: The model, with the weights to score with.
        datamodule: The data. They are set up as for a fit, and torn down afterwards.
        acquisition: The acquisition function that scores: a name or an object. By default `Entropy`, the entropy of the
            mean of the posterior samples, also where that of the callback selects batches and has no scores.
        posterior: How the weights are sampled: a name or an object. By default `MCDropout`. It takes one fit.
        forward: A function of the module and a batch that returns raw outputs; see `ActiveLearning`.
        task: What the module's outputs mean; see `ActiveLearning`.
        seed: Seed of the posterior samples. By default that of `pytorch_lightning.seed_everything`, or else 0. The
            number of answered queries is mixed in, as it is by a round.
        unscorable: What to do with items that cannot be read, or for which the module returns NaN or Inf: raise an
            error that names them (`raise`, the default), or leave their scores empty (`skip`).
        probabilities: Whether to add a column for the probability of each class, such as `probability_cat`.

    Returns:
        One row for each unlabelled item, in the order of the indices, with the columns

        - `index`, and `key`: what the item is called outside, by default its index,
        - `score`: the acquisition function's, such as an entropy in nats. Higher means worth more,
        - `predicted`: the most probable class, by its name if that is known, else by its number,
        - `probability`: its probability under the mean of the posterior samples,
        - `unscorable`, only with ``unscorable="skip"``: why an item has no score, or None.

        Its `attrs` say under ``acquisition`` which class scored.

    Raises:
        ValueError: If the acquisition function gives no scores, or an argument does not fit.
        TypeError: If `datamodule` is no `ActiveDataModule`.
        RuntimeError: If the Trainer is running.
        UnscorableError: If items cannot be scored; the message names them.

    >>> import pytorch_lightning as pl
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from lightning_al import ActiveDataModule, Deterministic, score_pool
    >>> class Net(pl.LightningModule):
    ...     def forward(self, x):
    ...         return torch.cat([x, torch.zeros_like(x)], 1)  # two logits: x, and 0
    >>> items = TensorDataset(torch.tensor([[0.0], [5.0], [-1.0986], [-3.0]]), torch.tensor([0, 0, 1, 1]))
    >>> data = ActiveDataModule(items, initial=[1, 3], classes=["cat", "dog"])
    >>> trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    >>> print(score_pool(trainer, Net(), data, posterior=Deterministic()).round(4).to_string(index=False))
     index  key  score predicted  probability
         0    0 0.6931       cat         0.50
         2    2 0.5623       dog         0.75
    """
    _check(trainer, model, datamodule)
    run = next((callback for callback in callbacks_of(trainer) if isinstance(callback, Arguments)), None)
    active = _arguments(
        run, acquisition=acquisition, posterior=posterior, forward=forward, task=task, seed=seed, unscorable=unscorable
    )
    found: list[ScoredPool] = []

    def score(module: pl.LightningModule) -> None:
        if datamodule.pool.num_unlabelled > 0:
            with _lacking_noted(datamodule):
                found.append(on_each_rank(trainer, lambda: _scored(active, trainer, module, datamodule)))

    def recall() -> None:
        folder, budget = (None, None) if run is None else (run.folder, run.budget)
        recall_run(trainer, datamodule, folder, budget)

    skipped, datamodule.skips_unreadable = datamodule.skips_unreadable, active.skips_unscorable
    try:
        with seeded(derive(active.seed, "score pool")), unchanged(model):
            use_outside_fit(trainer, model, datamodule, score, before_setup=recall)
    finally:
        datamodule.skips_unreadable = skipped
    # A sum of floats may differ between machines; one rank's table is everybody's.
    table = from_first_rank(
        trainer, lambda: _table(datamodule, found, probabilities=probabilities, skips=active.skips_unscorable)
    )
    table.attrs["acquisition"] = type(active.acquisition).__name__
    return table


def scoring_names() -> list[str]:
    """Return the names of the acquisition functions that score single points."""
    return [name for name in available() if issubclass(acquisitions.get(name), ScoreAcquisition)]


def _check(trainer: pl.Trainer, model: pl.LightningModule, data: ActiveDataModule) -> None:
    check_namespace(trainer, "Trainer")
    if not isinstance(data, ActiveDataModule):
        raise TypeError(
            f"`score_pool` scores the pool of an `ActiveDataModule`, but got `{type(data).__name__}`. Pass "
            "`ActiveDataModule(data, ...)`."
        )
    if trainer.state.status == "running":
        raise RuntimeError(
            "`score_pool` got a Trainer that is running, which cannot predict at the same time. Call it before or "
            "after `trainer.fit`, or pass another Trainer."
        )
    check_strategy(trainer)
    left = uninitialised(model)
    if left:
        raise ValueError(
            f"`score_pool` got a `{type(model).__name__}` with {len(left)} parameters that have no shape yet, such as "
            f"{left[0]!r}. Load its weights, or fit it first."
        )


def _arguments(run: Arguments | None, **given: Any) -> Arguments:
    """Return the arguments to score with: those given, or else those of a run, or else the defaults."""
    names = ("posterior", "forward", "task", "seed", "unscorable", "last_layer")
    known = {} if run is None else {name: getattr(run, name) for name in names}
    known |= {name: value for name, value in given.items() if value is not None and name != "acquisition"}
    acquisition = given["acquisition"]
    active = Arguments(_own_or_entropy(run) if acquisition is None else acquisition, query_size=1, **known)
    if not isinstance(active.acquisition, ScoreAcquisition):
        raise ValueError(
            f"`{type(active.acquisition).__name__}` selects whole batches and gives single items no score, so "
            f"`score_pool` cannot use it. Choose one of: {', '.join(scoring_names())}."
        )
    if active.num_fits > 1:
        raise ValueError(
            f"`{type(active.posterior).__name__}` samples {active.num_fits} fits, but `score_pool` has the weights of "
            "one. Pass a posterior of one fit, such as `posterior='mc_dropout'` or `posterior='deterministic'`."
        )
    return active


@contextmanager
def _lacking_noted(data: ActiveDataModule) -> Iterator[None]:
    """Let a model that was trained elsewhere score data before anybody has labelled the initial points."""
    before = data.pool.lacking
    if data.is_unlabelled:
        data.pool.lacking = data.without_label()
    try:
        yield
    finally:
        data.pool.lacking = before


def _own_or_entropy(run: Arguments | None) -> Acquisition:
    """Return the acquisition function of a run, if it scores single items."""
    return Entropy() if run is None or not isinstance(run.acquisition, ScoreAcquisition) else run.acquisition


def _scored(active: Arguments, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> ScoredPool:
    number = len(data.pool.rounds) - 1
    check = TaskCheck(data, type(module).__name__, revealed=False)
    fitted = fitted_for(
        active,
        trainer,
        module,
        data,
        number=number,
        fits=Fits([], module, fit_seeds(active.seed, number, 1)),
        check=check,
        say=lambda said: rank_zero_info(f"`score_pool`: {said}"),
    )
    # Data without labels may have none yet that could contradict the outputs.
    passes = PoolPasses(
        fitted, check=None if data.is_unlabelled else check, skip=active.skips_unscorable, timed=lambda chunks: chunks
    )
    assert isinstance(active.acquisition, ScoreAcquisition)
    return passes.score(active.acquisition, lambda: generator(active.seed, number, "select"))


def _table(data: ActiveDataModule, found: Sequence[ScoredPool], *, probabilities: bool, skips: bool) -> pd.DataFrame:
    indices = data.pool.unlabelled
    table = pd.DataFrame({"index": pd.Series(indices, dtype="int64")})
    table["key"] = [data.key_of(index) for index in indices]
    rows: dict[str, Any] = {"score": [], "predicted": [], "probability": []}
    scored, left_out, names = [], {}, data.training_points.classes.names
    for pool in found:
        scored, left_out = pool.indices, pool.left_out
        probs_N_C = pool.log_probs_N_C.double().exp()
        highest_N, classes_N = probs_N_C.max(1)
        rows["score"] = pool.scores_N.double().tolist()
        rows["predicted"] = [names.get(number, number) for number in classes_N.tolist()]
        rows["probability"] = highest_N.tolist()
        if probabilities:
            for number, probs_N in enumerate(probs_N_C.unbind(1)):
                rows[f"probability_{names.get(number, number)}"] = probs_N.tolist()
    # Items that were left out get empty cells.
    table = table.join(pd.DataFrame(rows, index=pd.Index(scored, dtype="int64")), on="index")
    if skips:
        table["unscorable"] = pd.Series([left_out.get(index) for index in indices], dtype=object)
    return table
