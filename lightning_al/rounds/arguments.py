"""What a run is told: the arguments of `ActiveLearning`, checked when they are passed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from torch import nn

from lightning_al.acquisition import Acquisition, available, create
from lightning_al.acquisition.registry import acquisitions
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import Pool
from lightning_al.host.before_setup import BeforeSetup
from lightning_al.oracle import OracleLike, as_oracle, enough_of, name_of, needs_of, oracles, seconds_to_wait
from lightning_al.posterior import LastLayer, Posterior, posteriors
from lightning_al.posterior.base import Forward
from lightning_al.prediction.forward import forward_of
from lightning_al.run.folder_path import folder_path
from lightning_al.run.labels import UNPAID, kind_of_aside
from lightning_al.run.seeds import Seed
from lightning_al.task import TASKS
from lightning_al.values.whole_numbers import optional_whole_number, plain, shown, whole_number


class Arguments(BeforeSetup):
    """Hold the arguments of `ActiveLearning`, which documents them. They may be assigned between two fits.

    Raises:
        ValueError: If an argument is out of its range or a name is unknown.
    """

    seed = Seed()

    def __init__(
        self,
        acquisition: Acquisition | str,
        *,
        query_size: int,
        budget: int | None = None,
        max_rounds: int | None = None,
        budget_seconds: float | None = None,
        posterior: Posterior | str = "mc_dropout",
        task: Literal["multiclass", "binary"] | None = None,
        forward: Forward | None = None,
        oracle: OracleLike | str | None = None,
        seed: int | None = None,
        weights: Literal["best", "last"] = "best",
        reset: Literal["initial", "fresh", "warm"] | Callable[[], nn.Module] = "initial",
        rounds_per_fit: int | None = None,
        test: Literal["module", "posterior"] | None = "module",
        folder: str | os.PathLike[str] | None = None,
        last_layer: LastLayer | None = None,
        unscorable: Literal["raise", "skip"] = "raise",
        keep_checkpoints: bool = False,
        force: bool = False,
    ) -> None:
        super().__init__()
        self.acquisition = create(acquisition)
        self.posterior = posteriors.create(posterior)
        self.oracle = as_oracle(oracles.create(oracle or "revealed") if isinstance(oracle, str | None) else oracle)
        _check_choice("weights", weights, ("best", "last"))
        if not callable(reset):
            _check_choice("reset", reset, ("initial", "fresh", "warm"), "a function that returns a new module")
        if test is not None:
            _check_choice("test", test, ("module", "posterior"), "None")
        _check_choice("unscorable", unscorable, ("raise", "skip"))
        if task is not None:
            _check_choice("task", task, tuple(TASKS))
        _check_task(self.acquisition, task)
        _check_samples(self.acquisition, self.posterior)
        self.query_size = query_size
        self.budget = budget
        self.max_rounds = max_rounds
        self.budget_seconds = budget_seconds
        self.rounds_per_fit = rounds_per_fit
        self.seed = seed
        self.take_numbers()
        self.task = task
        self.forward = forward
        self.weights = weights
        self.reset = reset
        self.test = test
        self.is_dev_run = False
        self.folder = None if folder is None else folder_path(folder)
        self.last_layer = LastLayer() if last_layer is None else last_layer
        self.unscorable = unscorable
        self.keep_checkpoints = keep_checkpoints
        self.force = force

    def take_numbers(self) -> None:
        """Check the numbers and make them plain ints, when they are passed and at each setup: users assign them too."""
        who = type(self).__name__
        self.query_size = whole_number(who, "query_size", self.query_size)
        self.budget = optional_whole_number(who, "budget", self.budget)
        self.max_rounds = optional_whole_number(who, "max_rounds", self.max_rounds)
        self.budget_seconds = _seconds(self.budget_seconds)
        self.rounds_per_fit = optional_whole_number(who, "rounds_per_fit", self.rounds_per_fit)
        enough_of(self.oracle, self.query_size)
        seconds_to_wait(self.oracle)
        self.num_fits = whole_number(type(self.posterior).__name__, "num_fits", self.posterior.num_fits)

    @property
    def folder(self) -> Path | None:
        """The run's folder. None if there is none, or while `fast_dev_run` tries the run out in memory."""
        return None if self.is_dev_run else self._folder

    @folder.setter
    def folder(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def skips_unscorable(self) -> bool:
        """Whether points that cannot be scored are left out of the pool."""
        return self.unscorable == "skip"

    def num_to_query(self, round: int, pool: Pool) -> int:
        """Return how many labels to query after the fit of a round; 0 where the run ends with it."""
        if self.max_rounds is not None and round + 1 >= self.max_rounds:
            return 0
        if self.budget_seconds is not None and pool.label_seconds >= self.budget_seconds:
            return 0
        return min(self.query_size, self.num_left(pool))

    def num_left(self, pool: Pool) -> int:
        """Return how many points may still be queried, besides those that have yet to be asked for the audit."""
        left = pool.num_unlabelled
        if self.budget is None:
            return left
        return max(0, min(left, self.budget - pool.num_spent - len(pool.audit.waiting)))

    def forward_on(self, data: ActiveDataModule) -> Forward:
        """Return what computes the module's raw outputs for a batch."""
        return forward_of(self.forward, data.target)

    def check_data(self, data: ActiveDataModule) -> None:
        """Refuse data with which the arguments cannot work.

        Raises:
            ValueError: If the budget is below the initial labels, nobody knows labels, queries have nowhere to wait, or
                the posterior cannot be tested.
        """
        given = data.given_labels()
        first = [*data.pool.initial, *data.pool.audit.points]
        num_first = sum(kind_of_aside(given.get(index)) != UNPAID for index in first)
        if self.budget is not None and self.budget < num_first:
            kinds = "initial and audit labels" if len(data.pool.audit) else "initial labels"
            raise ValueError(
                f"`ActiveLearning(budget={self.budget})` is below the {num_first} {kinds}. The budget "
                "counts all labels, these included. Raise it, or lower `initial_size`."
            )
        if getattr(self.oracle, "leaves_open", False) and self.folder is None:
            raise ValueError(
                f"`{name_of(self.oracle)}` is answered between two calls of `trainer.fit`, so its queries have to be "
                "kept. Pass `ActiveLearning(folder=...)`."
            )
        needs = needs_of(self.oracle)
        if data.is_unlabelled and needs is not None:
            raise ValueError(
                f"The training data of the `ActiveDataModule` have no labels, so `{name_of(self.oracle)}` has none to "
                "reveal. Pass `oracle=`, who labels: a name, an object with a method `label`, or a function of the "
                "query; or give items as (input, label)."
            )
        if needs == "classes" and data.class_counts() is None:
            raise ValueError(
                f"`{name_of(self.oracle)}(label_noise=...)` answers with another class than the right one, but the "
                "labels of the `ActiveDataModule` are not class numbers. Leave `label_noise` out."
            )
        if self.test == "posterior" and callable(data.target.spec):
            raise ValueError(
                "`ActiveLearning(test='posterior')` reads the labels of whole batches, but the target of the "
                "`ActiveDataModule` is a function of one item. Pass `target=` as a key or a position, or test with "
                "'module'."
            )


def _seconds(given: Any) -> float | None:
    """Return a budget of seconds as a float, or None."""
    number = plain(given)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise ValueError(
            f"`ActiveLearning(budget_seconds={shown(given)})` is no time that answers may take. Pass a number of "
            "seconds above 0, or None."
        )
    return float(number)


def _check_choice(name: str, value: object, choices: tuple[str, ...], other: str = "") -> None:
    if value not in choices:
        known = ", ".join(choices) + (f", or {other}" if other else "")
        raise ValueError(f"`ActiveLearning({name}={value!r})` is not known. Choose one of: {known}.")


def _check_task(acquisition: Acquisition, task: str | None) -> None:
    if acquisition.tasks & (set(TASKS) if task is None else {task}):
        return
    fits = [name for name in available() if (task or "multiclass") in acquisitions.get(name).tasks]
    raise ValueError(
        f"`{type(acquisition).__name__}` is for the tasks {', '.join(sorted(acquisition.tasks))}, "
        f"but the task is {task or 'multiclass or binary'}. Choose one of: {', '.join(fits)}."
    )


def _check_samples(acquisition: Acquisition, posterior: Posterior) -> None:
    if posterior.num_samples is not None and posterior.num_samples < acquisition.min_samples:
        raise ValueError(
            f"`{type(acquisition).__name__}` needs `num_samples` of at least {acquisition.min_samples}, "
            f"but `{type(posterior).__name__}` has {posterior.num_samples}. Use "
            "`posterior=MCDropout(num_samples=20)`, or an acquisition function such as `entropy`."
        )
