"""The Lightning callback that runs active learning: fit, score the pool, ask, label, fit again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import Tensor, nn

from lightning_al.acquisition import Acquisition, available, create
from lightning_al.acquisition.base import check_selection, plain_metrics
from lightning_al.acquisition.registry import acquisitions
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import label_as_recorded
from lightning_al.data.validation_points import ValidationPoints
from lightning_al.evaluation import PosteriorHealth, PosteriorTest
from lightning_al.host.before_setup import BeforeSetup
from lightning_al.host.found_checkpoints import found_by_lightning, is_slurms, let_write, to_be_found
from lightning_al.host.loggers import held_open, log_over_labels
from lightning_al.host.namespace import check_namespace, is_overridden, pl, rank_zero_info, rank_zero_warn
from lightning_al.host.ranks import from_first_rank, on_each_rank, on_first_rank
from lightning_al.host.refit import (
    CallbackStates,
    Start,
    callbacks_of,
    carry_on_timers,
    end_fit_early,
    logger_step,
    nested,
    only_note_sigterm,
    put_first,
    quiet,
    rewind,
    set_callbacks,
    set_logger_step,
    skip_end_of_fit,
    tell_those_after,
    time_is_up,
    unprofiled,
    without_sanity_check,
    without_training,
)
from lightning_al.host.requeue import requeue_without_waiting, requeued_between_fits
from lightning_al.host.round_checkpoints import RoundCheckpoints
from lightning_al.host.same_on_ranks import check_same_on_ranks
from lightning_al.host.strategies import check_strategy, refuse_spawning
from lightning_al.oracle import OracleLike, Query, as_oracle, oracles
from lightning_al.posterior import LastLayer, Posterior, posteriors
from lightning_al.posterior.base import Forward
from lightning_al.prediction.dry_pass import FEW_LABELLED, dry_pass
from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.forward import forward_of
from lightning_al.prediction.scoring import give_shapes
from lightning_al.prediction.selecting import PoolPasses
from lightning_al.prediction.sigmoid import ends_in_sigmoid
from lightning_al.prediction.task_check import TaskCheck
from lightning_al.prediction.unscorable import UnscorableError, said_of_left_out
from lightning_al.rounds.found_run import read_run
from lightning_al.rounds.header import Header, on_every_rank, text_of
from lightning_al.rounds.labelling import Labelling, believed, reveals, weights_name, without_drawing
from lightning_al.rounds.members import (
    Fits,
    Member,
    Members,
    check_can_be_drawn,
    fit_seeds,
    purpose_of,
    read_ends,
)
from lightning_al.run.folder import break_links, check_places, end_name, member_name, places_of
from lightning_al.run.folder_name import meant
from lightning_al.run.history import History, Round
from lightning_al.run.inert import read_plain_parts, read_weights
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Label
from lightning_al.run.memory import peak_bytes
from lightning_al.run.records import INITIAL, OpenQuery, changes_since
from lightning_al.run.same_run import check_same_run, check_same_weights, flat
from lightning_al.run.seeds import Seed, derive, generator, seeded
from lightning_al.run.stopping import StoppedError, Stopping, held_back, is_insisting, leave_by
from lightning_al.run.weights import copy_weights, put_matching, put_weights, reset_parameters, uninitialised
from lightning_al.run.weights_file import load_weights
from lightning_al.task import TASKS, Guessed
from lightning_al.values.whole_numbers import optional_whole_number, whole_number

Chunk = TypeVar("Chunk")


class ActiveLearning(BeforeSetup):
    """Ask for the labels that the model would learn most from, and fit again with them.

    One ``trainer.fit(model, datamodule=data)``, with `data` an `ActiveDataModule`, runs every round: fit, score the
    pool with posterior samples, select a query, have it labelled, and fit again from the initial weights. `max_epochs`
    and `max_steps` count per fit, `max_time` for the whole run. The last labels are trained on too.

    Before the first step of a call, six points of the pool are scored and a query is selected and forgotten, so that
    what cannot work fails at once. That costs no more than to score them, and changes neither the module nor the states
    of random generators. ``Trainer(num_sanity_val_steps=0)`` leaves it out.

    Args:
        acquisition: The acquisition function that selects points: a name (see `lightning_al.available`) or an object.
        query_size: How many labels to ask for after each fit. The last query may be smaller.
        budget: How many training labels there may be in all, the initial ones included. By default the whole pool.
        max_rounds: How many rounds to run at most. By default as many as the budget allows.
        posterior: How the weights are sampled: a name (see `lightning_al.available_posteriors`) or an object. A round
            has one fit, or as many as its `num_fits`.
        task: What the module's outputs mean: `multiclass`, logits ``[n, C]``, or `binary`, the logit of class 1 ``[n]``
            or ``[n, 1]``, or two logits. By default multiclass, but binary where there is one output a point and all
            labels that are trained on are 0 or 1.
        forward: A function of the module and a collated batch, on the device and with labels hidden, that returns raw
            outputs ``[n, ...]``. By default the module is called on the batch's inputs, and of what it returns
            `.logits` or ``["logits"]`` is read.
        oracle: Who labels: a name (see `lightning_al.available_oracles`), an `Oracle` or another object with its method
            `label`, or a function of the query that returns ``{index: label}``, or yields ``index, label``. By default
            the dataset's own targets are revealed. Answers are checked before they are recorded; where one is refused,
            the good ones are kept. What is left out is pending: `trainer.fit` returns, and its next call asks for the
            rest alone, without another fit. Initial points for which the dataset has no label are asked for before the
            first fit.
        seed: Seed of the fits, the posterior samples and the selections. By default that of
            `pytorch_lightning.seed_everything`, where the program called it, else 0.
        weights: Which weights of a fit to keep: those of the best checkpoint of a ModelCheckpoint that monitors a
            metric, where there is one, or always the last.
        reset: What a round starts from: the weights before the first fit (`initial`), newly drawn ones (`fresh`),
            those of the round before (`warm`), or those of a new module that a function returns.
        rounds_per_fit: How many rounds a call of `trainer.fit` runs, 1 to own the loop. By default all.
        test: What to test after each fit, where there are a test step and test data: the `module`, nothing (None), or
            (`posterior`) also the mean of the posterior samples and, on the same points, the network without sampling:
            metrics `posterior_accuracy`, `posterior_nll` and `posterior_ece`, and `deterministic_accuracy` and so on.
            Where there is no test, they are measured on the validation set and named `val_posterior_accuracy` and so
            on. A warning, once, says where sampling harms.
        folder: Where to keep the run's journal. A run started again on its folder goes on from there. A relative one is
            taken from the current directory when it is given.
        last_layer: How to read embeddings, for an acquisition function that asks for them: a `LastLayer`, by default
            of the network's last linear layer, in float32.
        unscorable: What to do where points of the pool cannot be scored, since their item cannot be read or the module
            gives NaN or Inf: end with an error that names them (`raise`), or select as if they were not in the pool
            (`skip`), name them in a warning and count them in the history. Where no point can be scored, the run ends.
        keep_checkpoints: Whether to keep the checkpoints of all rounds, not only the newest's.
        force: Whether to go on with the run in the folder or a checkpoint in spite of what differs and changes later
            picks or weights, such as the acquisition function, seed, reset or the contents of the data, with a warning.
            Other points, initial labels, class numbers or shapes of weights are refused all the same.

    Attributes:
        history: A `History`, one `Round` for each round, whatever its number of fits.
        done: Whether the last fit had nothing left to ask.
        pending: The `Query` whose answers are awaited, or None.

    Raises:
        ValueError: If an argument is out of its range or a name is unknown.

    >>> active = ActiveLearning("entropy", query_size=10, budget=100, posterior="deterministic")
    >>> active.done, len(active.history)
    (False, 0)
    """

    seed = Seed()

    def __init__(
        self,
        acquisition: Acquisition | str,
        *,
        query_size: int,
        budget: int | None = None,
        max_rounds: int | None = None,
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
        if not self.acquisition.tasks & (set(TASKS) if task is None else {task}):
            fits = [name for name in available() if (task or "multiclass") in acquisitions.get(name).tasks]
            raise ValueError(
                f"`{type(self.acquisition).__name__}` is for the tasks {', '.join(sorted(self.acquisition.tasks))}, "
                f"but the task is {task or 'multiclass or binary'}. Choose one of: {', '.join(fits)}."
            )
        if self.posterior.num_samples is not None and self.posterior.num_samples < self.acquisition.min_samples:
            raise ValueError(
                f"`{type(self.acquisition).__name__}` needs `num_samples` of at least {self.acquisition.min_samples}, "
                f"but `{type(self.posterior).__name__}` has {self.posterior.num_samples}. Use "
                "`posterior=MCDropout(num_samples=20)`, or an acquisition function such as `entropy`."
            )
        self.query_size = query_size
        self.budget = budget
        self.max_rounds = max_rounds
        self.rounds_per_fit = rounds_per_fit
        self.seed = seed
        self._take_numbers()
        self.task = task
        self.forward = forward
        self.weights = weights
        self.reset = reset
        self.test = test
        self.folder = None if folder is None else meant(folder)
        self.last_layer = LastLayer() if last_layer is None else last_layer
        self.unscorable = unscorable
        self.force = force
        self.history = History()
        self._run: dict[str, Any] | None = None
        self._initial: dict[str, Tensor] | None = None
        self._ends: dict[str, dict[str, Tensor]] = {}
        self._members = Members()
        self._start = Start()
        self._callbacks = CallbackStates()
        self._checkpoints = RoundCheckpoints(keep_checkpoints)
        self._journal: Journal | None = None
        self._labelling = Labelling()
        self._goes_on = False
        self._fit = _Fit()
        self._validation = ValidationPoints()
        self._inside = False
        self._resumed = False
        self._started = 0.0
        self._spent = 0.0
        self._seeds = ExitStack()
        self._unchecked = ExitStack()
        self._stopping = Stopping()
        self._posterior_test: PosteriorTest | None = None
        self._told_last_weights = False
        self._told_task = False
        self._told_of_found = False
        self._warned = False
        self._warned_of_posterior = False

    def __repr__(self) -> str:
        limits = {"query_size": self.query_size, "budget": self.budget, "max_rounds": self.max_rounds}
        said = [f"{name}={number}" for name, number in limits.items() if number is not None]
        parts = {"posterior": self.posterior, "oracle": self.oracle}
        said += [f"{name}={text_of(part)}" for name, part in parts.items()]
        rounds = "1 round" if self.round == 1 else f"{self.round} rounds"
        state = f"{rounds} done, finished" if self.done else f"{rounds} done"
        query = self._labelling.query
        if query is not None and self._labelling.is_pending:
            state += f", {len(query.rest)} of {len(query.indices)} labels pending"
        return f"{type(self).__name__}({', '.join([text_of(self.acquisition), *said])}; {state})"

    @property
    def done(self) -> bool:
        """Whether the last fit had nothing left to ask, its labels having been trained on."""
        return len(self.history) > 0 and not self.history[-1].indices

    @property
    def pending(self) -> Query | None:
        """The query whose answers are awaited, or None: the next call of `trainer.fit` asks for them, without a fit."""
        return self._labelling.pending

    @property
    def round(self) -> int:
        """Number of the round that the next fit is, or the current one."""
        return len(self.history)

    def _take_numbers(self) -> None:
        """Make plain ints of all numbers: when they are passed, and again at setup, since users also assign them."""
        who = type(self).__name__
        self.query_size = whole_number(who, "query_size", self.query_size)
        self.budget = optional_whole_number(who, "budget", self.budget)
        self.max_rounds = optional_whole_number(who, "max_rounds", self.max_rounds)
        self.rounds_per_fit = optional_whole_number(who, "rounds_per_fit", self.rounds_per_fit)
        self._num_fits = whole_number(type(self.posterior).__name__, "num_fits", self.posterior.num_fits)

    # The round, hook by hook.

    def before_setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the fit start as a new Trainer with a new module would."""
        if stage == "fit":
            _datamodule(trainer).skips_unreadable = self.unscorable == "skip"
            self._start.before_setup(trainer, pl_module)
            if self._initial is not None and self.reset != "warm":
                # A callback may copy in its `setup` what the round starts from.
                put_matching(pl_module, self._initial)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that the run can work, and find the journal where the run goes on from one."""
        if stage != "fit":
            return
        check_namespace(trainer, "Trainer")
        data = _datamodule(trainer)
        self._take_numbers()
        _refuse_what_cannot_refit(trainer)
        if not self._inside:
            check_same_on_ranks(
                trainer,
                "The arguments or the state of `ActiveLearning` and `ActiveDataModule`",
                lambda: self._on_this_rank(data),
                "Pass the same on every rank, and keep those of all ranks together.",
            )
        if not self._inside:
            self._stopping.begin(lambda number: self._hear(trainer, number))
        # SWA, EMA and checkpoints act at the end of training; the pool is scored after them.
        set_callbacks(trainer, [*(callback for callback in callbacks_of(trainer) if callback is not self), self])
        if self.budget is not None and self.budget < len(data.pool.initial):
            raise ValueError(
                f"`ActiveLearning(budget={self.budget})` is below the {len(data.pool.initial)} initial labels. The "
                "budget counts all training labels, the initial ones included. Raise it, or lower `initial_size`."
            )
        if self.test == "posterior" and callable(data.target.spec):
            raise ValueError(
                "`ActiveLearning(test='posterior')` reads the labels of whole batches, but the target of the "
                "`ActiveDataModule` is a function of one item. Pass `target=` as a key or a position, or test with "
                "'module'."
            )
        if not self._inside and self.folder is not None:
            self._open_journal(trainer, data, self.folder)
        if not self._inside:
            self._resume_from_found(trainer, data)
            self._take_back_changed_round(data)
            self._take_changes(trainer, data, self._num_changes_told)
        self._check_pool(data)
        self._take_back_last_round(trainer, data)
        rewind(trainer)
        only_note_sigterm(trainer)
        requeue_without_waiting(trainer)
        steps = sum(round.steps for round in self.history) + self._members.steps
        set_logger_step(trainer, max(logger_step(trainer), steps))
        if not self._inside:
            self._started = time.monotonic() - self._spent
        if self._inside or self._spent > 0:
            carry_on_timers(trainer, self._started)
        if not self._inside:
            # Before the loaders are made, which are those of the labels that come now.
            self._note_lacking(trainer, data)
            self._answer(trainer, data)

    def _hear(self, trainer: pl.Trainer, number: int) -> None:
        """Tell the ranks of a signal, and be told first of the error by which it ends the run."""
        _tell_ranks(trainer, number)
        if trainer.state.status != "interrupted":  # or others may have been told of an error already
            put_first(trainer, self)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check that the checkpoint is one of this run, and prepare the other callbacks for its states for them.

        Raises:
            ValueError: If the checkpoint is of another run, or of none, or the run folder is at another round.
        """
        state = checkpoint.get("callbacks", {}).get(self.state_key)
        if trainer.state.fn != "fit":
            # A test or a prediction wants the weights of a round. To take over its state too would lose later rounds.
            checkpoint.get("callbacks", {}).pop(self.state_key, None)
            self._start.remember_callbacks(trainer)
            self._callbacks.remember_new(trainer, but=self)
        elif state is None:
            raise ValueError(
                "The checkpoint is of no active learning run: it has no state of `ActiveLearning`. To begin with "
                "its weights, load them into the module and leave `ckpt_path` out."
            )
        else:
            if state.get("run") is not None:
                now = self._header(_datamodule(trainer))
                check_same_run("The checkpoint", state["run"], now, force=self.force)
            self._check_same_rounds(state["history"], len(state.get("members", {}).get("done", ())))
            self._callbacks.remember(trainer, but=self)
            if self.folder is None:
                self._checkpoints.run_id = state.get("id")
            if state.get("id") is None:
                self._checkpoints.adopt(trainer, len(state["history"]["rounds"]), checkpoint["callbacks"])
        if state is not None:
            member = self._of_several(state.get("member", 0))
            self._checkpoints.expect(trainer, len(state["history"]["rounds"]), state.get("id"), member=member)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put weights, callbacks and seeds to where the round starts."""
        self._stopping.check()
        let_write(trainer)
        self._fit = _Fit()
        if not self._resumed:
            self._validation = ValidationPoints()
        data = _datamodule(trainer)
        self._run = self._header(data)
        if self._resumed:
            self._check_pool(data)
        on_each_rank(trainer, lambda: self._give_shapes(trainer, pl_module))
        self._start.after_setup()
        self._checkpoints.name_run(trainer)
        if self._initial is None:
            self._take_initial_weights(trainer, pl_module)
        if self._initial_is_pending(trainer, data):
            self._pass_over_fit(trainer, pl_module)
            return
        # A fit of a run that is done repeats the last one.
        number = self.round - 1 if self.done else self.round
        if not self._resumed:
            self._callbacks.remember_or_restore(trainer, but=self)
        again = not self._resumed and (self._goes_on or self.done)
        member = self._fit.member = self._next_member(trainer, pl_module, data, number)
        self._checkpoints.begin(trainer, number, again=again, member=self._of_several(member))
        self._seeds.enter_context(seeded(fit_seeds(self.seed, number, member + 1)[member]))
        if number + member > 0 and not self._inside:
            self._unchecked.enter_context(without_sanity_check(trainer))
        if not self._resumed:
            on_each_rank(trainer, lambda: self._reset_weights(trainer, pl_module, number, member))
        self._resumed = False
        if self.done:
            rank_zero_info("The active learning run is done: this fit repeats its last one, and is not recorded.")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score a few points where the user's call begins, and start the clock of the fit."""
        self._unchecked.close()
        if not self._inside:
            on_each_rank(trainer, lambda: self._try_out(trainer, pl_module))
        self._fit.began = time.perf_counter()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Stop here too where the process was told to, as after each batch that is validated, tested or scored."""
        self._stopping.check()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count the points of a fit's validation."""
        if _is_validation_of_fit(trainer):
            self._validation.begin(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the points of a batch of a fit's validation."""
        self._stopping.check()
        if _is_validation_of_fit(trainer):
            self._validation.add(trainer, batch, dataloader_idx)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the weights, score the pool and select what to ask, while the module is still on its device."""
        self._stopping.check()
        fit = self._fit
        fit.seconds["fit"] = time.perf_counter() - fit.began
        fit.peak_bytes.update(peak_bytes("fit"))
        fit.steps = trainer.global_step
        fit.cut_short = time_is_up(trainer)
        fit.metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if value.numel() == 1}
        fit.validation_labels = self._validation.number(trainer)
        on_each_rank(trainer, lambda: self._choose_weights(trainer, pl_module))
        data = _datamodule(trainer)
        b = self._next_query_size(data)
        if fit.steps == 0 or fit.cut_short or self.done:
            return
        if not self._is_last_fit:
            fit.weights = copy_weights(pl_module)
            return
        fit.fitted = self._fitted_now(trainer, pl_module, data)
        query = self._labelling.recall(trainer, self.round)
        if query is not None:
            fit.indices, fit.scores, fit.details = query.indices, query.scores, query.details
            fit.warning, fit.unscorable = query.warning, query.unscorable
        elif b > 0:
            self._select(trainer, fit.fitted, data, b)
        if fit.indices and not reveals(self.oracle):
            self._labelling.look_at(trainer, pl_module, data, forward_of(self.forward, data.target))
            fit.probs = believed(fit.fitted, fit.indices)
        if self.test == "posterior":
            if _has_test(pl_module, data):
                _ = fit.fitted.samples  # drawn while the module is on its device
            else:
                self._test_on_validation(fit.fitted, data)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Test, label and record; then, where this is the call of the user, run the other rounds."""
        self._seeds.close()
        self._unchecked.close()
        if self._labelling.is_pending and self._fit.steps == 0:
            self._end_call(trainer)
            return
        # Where time is up before the first step, training has neither begun nor ended.
        self._fit.cut_short = self._fit.cut_short or time_is_up(trainer)
        if self._fit.steps == 0 and not self._fit.cut_short:
            if trainer.ckpt_path is not None and trainer.global_step > 0:
                raise RuntimeError(
                    f"The checkpoint {trainer.ckpt_path} is of a fit that had finished, after {trainer.global_step} "
                    "steps, so there is nothing to go on with. Leave out `ckpt_path` and start the run again on its "
                    "`folder=`, or raise `max_epochs` or `max_steps` of the Trainer."
                )
            raise RuntimeError(
                f"Round {self.round} of active learning trained 0 steps, so there is nothing to score the pool with. "
                "Check `max_epochs`, `max_steps` and `limit_train_batches` of the Trainer, and that the train loader "
                "has batches."
            )
        if not self._inside:
            self._run_rounds(trainer, pl_module)

    def _run_rounds(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Finish the round whose fit the user called, and run the others, one fit and one test after the other."""
        data = _datamodule(trainer)
        self._inside = True
        try:
            with (
                unprofiled(trainer, self, "on_fit_end"),
                quiet(trainer),
                held_open(trainer),
                data.held(),
                requeued_between_fits(trainer),
            ):
                end_fit_early(trainer, module)
                self._fit_other_members(trainer, module, data)
                self._finish_round(trainer, module)
                rounds = 1
                while not self._is_to_end and rounds != self.rounds_per_fit:
                    with nested(trainer):
                        trainer.fit(module, datamodule=data)
                    self._fit_other_members(trainer, module, data)
                    self._finish_round(trainer, module)
                    rounds += 1
                self._stopping.check()
            self._start.end(trainer)
            skip_end_of_fit(trainer, module)
            self._stopping.end()
        except BaseException:
            if is_insisting():  # as a callback before this one failed when it was told of an error
                put_first(trainer, self)
            raise
        finally:
            self._inside = False
            self._spent = time.monotonic() - self._started
            with held_back():
                self._close_journal()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Put the seeds back and let go of the journal. The round that was cut off is not recorded."""
        self._unchecked.close()
        try:
            with held_back():
                if self._stopping.error is None and self._run is not None:
                    forward = forward_of(self.forward, _datamodule(trainer).target)
                    self._labelling.explain(exception, trainer, pl_module, forward, self.folder)
                self._start.end(trainer)
                self._seeds.close()
                self._close_journal()
        finally:
            stopped = self._stopping.end()  # by a signal that came meanwhile, too
            if isinstance(exception, StoppedError):
                stopped = exception
            if stopped is not None:
                tell_those_after(trainer, self, pl_module, stopped)
                self._say_how_to_go_on(trainer, stopped)
                leave_by(trainer, stopped)

    def _say_how_to_go_on(self, trainer: pl.Trainer, stopped: StoppedError) -> None:
        how = "Without `folder=`, nothing is kept to go on from."
        place = to_be_found(trainer) if self.folder is None else self.folder
        if place is not None:
            how = f"Started again on {place}, it goes on from there."
        rank_zero_info(f"Stopped by {stopped.name} in round {self.round}. {how}")

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Test the posterior mean on the batch too, where that was asked for."""
        self._stopping.check()
        if self._posterior_test is not None:
            self._posterior_test.update(batch)

    def tidy(self, trainer: pl.Trainer) -> History:
        """Return the history of the finished run in `folder`, without what a process killed at its end left there.

        Args:
            trainer: The Trainer that has the run's callbacks; it fits nothing.
        """
        assert self.folder is not None
        journal = Journal(self.folder)  # which brings the files beside it up to date
        try:
            history = journal.history
            _remove_older_weights(journal, history[-1].number, self._num_fits)
            self._checkpoints.run_id = journal.run_id
        finally:
            journal.close()
        self._checkpoints.expect(trainer, history[-1].number)
        self._checkpoints.finish(trainer, history[-1].number)
        return history

    # State.

    def __getstate__(self) -> dict[str, Any]:
        """Be pickled and copied as any object, but not for a process that could not run the rounds."""
        if self._run is None:  # later on, they are the workers of a DataLoader
            refuse_spawning()
        return vars(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the history, the initial weights and what the run is: with the pool, all to go on from."""
        # A run folder has these.
        ends = {"ends": dict(self._ends)} if self._ends and self.folder is None else {}
        return {
            "history": self.history.state_dict(),
            "initial": self._initial,
            "run": self._run,
            "id": self._checkpoints.run_id,
            "validation": self._validation.state_dict(),
            "member": self._fit.member,
            "members": self._members.state_dict(with_weights=self.folder is None),
            **ends,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state from a checkpoint; the fit goes on in the middle of its round."""
        self.history.load_state_dict(state_dict["history"])
        self._initial = state_dict["initial"]
        if "validation" in state_dict:
            self._validation.load_state_dict(state_dict["validation"])
        self._ends.update(read_ends(state_dict))
        if "members" in state_dict and self.folder is None:
            self._members.load_state_dict(state_dict["members"])
        self._resumed = True

    # Parts of a round.

    def _check_same_rounds(self, history: Mapping[str, Any], member: int) -> None:
        """Refuse a checkpoint that stands elsewhere than the run folder, which every rank knows by its history.

        Raises:
            ValueError: If the run folder is at another round or fit than the checkpoint, or of another run.
        """
        if self.folder is None:
            return
        rounds = len(history["rounds"])
        if rounds != len(self.history):
            raise ValueError(
                f"The checkpoint stands in round {rounds}, but the run folder {self.folder} in round "
                f"{len(self.history)}. Leave out `ckpt_path` to go on from the folder, or `folder` to go on from the "
                "checkpoint."
            )
        if member != len(self._members.done):
            raise ValueError(
                f"The checkpoint was saved in fit {member} of round {rounds}, but of that round the run folder "
                f"{self.folder} has {len(self._members.done)} whole fits. Leave out `ckpt_path` to go on from the "
                "folder."
            )
        if [round["indices"] for round in history["rounds"]] != [round.indices for round in self.history]:
            raise ValueError(
                f"The checkpoint and the run folder {self.folder} are of two runs, which asked for different points. "
                "Leave out `ckpt_path` to go on from the folder, or `folder` to go on from the checkpoint."
            )

    def _take_back_last_round(self, trainer: pl.Trainer, data: ActiveDataModule) -> None:
        """Run the last round again where it asked for nothing, but the budget has grown since."""
        if self.done:
            last = self.history.take_back()
            if self._next_query_size(data) == 0:
                self.history.append(last)
                return
            self._change_journal(trainer, lambda journal: journal.take_back())

    def _take_back_changed_round(self, data: ActiveDataModule) -> bool:
        """Return whether labels were changed since the last fit. Where it had nothing left to ask, it is run again."""
        is_changed = len(data.pool.changes) > self._num_changes_told
        if is_changed and self.done:
            self.history.take_back()
        return is_changed

    @property
    def _num_changes_told(self) -> int:
        """How many changes of labels the history tells of."""
        return len(self.history[-1].corrected) + len(self.history[-1].given_back) if self.round > 0 else 0

    def _check_pool(self, data: ActiveDataModule) -> None:
        asked = sum(len(round.indices) for round in self.history)
        if data.pool.num_labelled + data.pool.num_given_back != len(data.pool.initial) + asked:
            raise ValueError(
                f"`ActiveLearning` has a history of {len(self.history)} rounds, but the pool of its "
                "`ActiveDataModule` was labelled otherwise. Use a new `ActiveDataModule` with a new `ActiveLearning`, "
                "and keep the two together."
            )

    def _take_initial_weights(self, trainer: pl.Trainer, module: nn.Module) -> None:
        if self._goes_on and self.folder is not None:
            # A folder of 0.1.0 has no buffers that the `state_dict` leaves out: the module's own are taken.
            recorded = on_each_rank(trainer, lambda: self._load_weights("initial", module))
            self._initial = copy_weights(module) | recorded
            return
        self._initial = copy_weights(module)
        data = _datamodule(trainer)
        header = {**self._header(data), "id": self._checkpoints.run_id}
        initial = self._initial

        def begin(journal: Journal) -> None:
            journal.save_weights("initial", initial)
            journal.begin(header)

        self._change_journal(trainer, begin)
        self._take_changes(trainer, data, 0)

    def _take_changes(self, trainer: pl.Trainer, data: ActiveDataModule, told: int) -> None:
        on_each_rank(trainer, lambda: self._labelling.take_changes(data, self._journal, self.folder, told))

    def _weights_at_hand(self) -> dict[str, dict[str, Tensor]]:
        """Return the weights that a run which lost its folder needs in the new one, by name."""
        initial = {} if self._initial is None else {"initial": self._initial}
        query, weights = self._labelling.query, self._labelling.weights
        last = {} if query is None or weights is None else {weights_name(query.number): weights}
        members = {name: dict(weights) for name, weights in self._members.at_hand.items()}
        return initial | self._ends | last | members

    def _give_shapes(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Let lazy layers learn their shapes from two labelled points, so that there are weights to start from."""
        if uninitialised(module):
            data = _datamodule(trainer)
            with seeded(derive(self.seed, "lazy")):
                give_shapes(trainer, module, data, forward=forward_of(self.forward, data.target))

    def _reset_weights(self, trainer: pl.Trainer, module: pl.LightningModule, number: int, member: int) -> None:
        """Load the weights that a fit of a round starts from."""
        assert self._initial is not None
        remedy = "begin another run with a new `ActiveLearning` and a new `ActiveDataModule`"
        check_same_weights("the run's start", self._initial, module, remedy)
        if self._num_fits > 1 and not callable(self.reset):
            check_can_be_drawn(self.posterior, module)
        if member == 0 and (number == 0 or self.reset == "initial"):
            put_weights(module, self._initial)
        elif callable(self.reset):
            put_weights(module, copy_weights(self._make_module(trainer, self.reset)))
        elif self.reset == "warm" and number > 0:
            end = end_name(number - 1, member)
            if end not in self._ends:
                self._ends[end] = self._load_weights(end, module)  # a new folder may need it
            put_weights(module, self._ends[end])
        else:
            put_weights(module, self._initial)  # for the buffers
            reset_parameters(module)

    def _make_module(self, trainer: pl.Trainer, make: Callable[[], nn.Module]) -> nn.Module:
        """Return a new module, with the layers that it builds in `setup` or `configure_model`."""
        module = make()
        if isinstance(module, pl.LightningModule):
            module.trainer = trainer
            module.setup("fit")
            module.configure_model()
            self._give_shapes(trainer, module)
        return module

    def _load_weights(self, name: str, module: nn.Module) -> dict[str, Tensor]:
        assert self.folder is not None
        weights = load_weights(self.folder, name)
        check_same_weights(f"{self.folder}/{name}.pt", weights, module)
        return weights

    def _choose_weights(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.weights == "last":
            return
        best = RoundCheckpoints.best(trainer)
        if best is None:
            if not self._told_last_weights:
                rank_zero_info(
                    "`ActiveLearning(weights='best')` found no ModelCheckpoint that monitors a metric, so each round "
                    "keeps its last weights."
                )
                self._told_last_weights = True
            return
        _load_checkpoint(module, best.best_model_path)
        if best.best_model_score is not None:
            self._fit.metrics[str(best.monitor)] = float(best.best_model_score)

    def _next_query_size(self, data: ActiveDataModule) -> int:
        if self.max_rounds is not None and self.round + 1 >= self.max_rounds:
            return 0
        left = data.pool.num_unlabelled
        if self.budget is not None:
            left = max(0, min(left, self.budget - data.pool.num_labelled - data.pool.num_given_back))
        return min(self.query_size, left)

    def _try_out(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Score a few points before the first step, as Lightning validates a few batches."""
        data = _datamodule(trainer)
        b = self._next_query_size(data)
        if trainer.num_sanity_val_steps == 0 or b == 0 or self.done or self._has_only_left_out(data):
            return
        few = data.pool.labelled[:FEW_LABELLED]
        dry_pass(
            self._fitted_now(trainer, module, data, few),
            acquisition=self.acquisition,
            query_size=b,
            check=self._task_check(module, data),
            seed=self.seed,
            number=self.round,
            skip=self.unscorable == "skip",
        )

    def _fitted_now(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        data: ActiveDataModule,
        labelled: Sequence[int] | None = None,
    ) -> Fitted:
        """Return what predicts with the weights that the module has now."""
        forward = forward_of(self.forward, data.target)
        seeds = fit_seeds(self.seed, self.round, self._num_fits)
        before = self._members.fits if labelled is None else []
        fits = self.acquisition.tasks & set(TASKS)
        task = next(iter(fits)) if self.task is None and len(fits) == 1 else self.task
        guessed = Guessed(
            self._task_check(module, data).are_of_two_classes,
            lambda: ends_in_sigmoid(trainer, module, data, forward),
            self._tell_task,
        )
        return Fitted(
            trainer,
            module,
            data,
            posterior=self.posterior,
            last_layer=self.last_layer,
            forward=forward,
            task=guessed if task is None else TASKS[task],
            seed=derive(self.seed, self.round, "posterior"),
            fits=Fits(before, module, seeds[len(before) :]),
            labelled=labelled,
        )

    def _task_check(self, module: nn.Module, data: ActiveDataModule) -> TaskCheck:
        return TaskCheck(data, type(module).__name__, revealed=reveals(self.oracle))

    def _select(self, trainer: pl.Trainer, fitted: Fitted, data: ActiveDataModule, b: int) -> None:
        passes = PoolPasses(
            fitted,
            # Later rounds have the labels that this one had, and those that were asked for.
            check=None if self._inside else self._task_check(fitted.module, data),
            skip=self.unscorable == "skip",
            timed=lambda chunks: self._timed(chunks, "score"),
        )
        before = self.history[-1].unscorable if len(self.history) > 0 else []
        began = time.perf_counter()
        try:
            selection, points, left_out = on_each_rank(
                trainer,
                lambda: passes.select(self.acquisition, b, lambda: generator(self.seed, self.round, "select"), before),
            )
        except UnscorableError as error:
            if not self._has_only_left_out(data):
                raise
            # The pool is used up but for these, so that the run is done.
            self._fit.unscorable = list(error.reasons)
            rank_zero_warn(f"`ActiveLearning`, round {self.round}: {said_of_left_out(error.reasons, 0)}")
            return
        # A sum of floats may differ between machines; one rank's selection is everybody's.
        metrics = plain_metrics(self.acquisition, selection.metrics)
        positions, scores, details, warning = trainer.strategy.broadcast(
            (selection.positions.tolist(), selection.scores.tolist(), metrics, selection.warning)
        )
        check_selection(self.acquisition, positions, scores, min(b, len(points)), len(points))
        self._fit.seconds["select"] = time.perf_counter() - began - self._fit.seconds.get("score", 0.0)
        self._fit.peak_bytes.update(peak_bytes("select"))
        self._fit.indices = [points[position] for position in positions]
        self._fit.unscorable = list(left_out)
        if left_out and list(left_out) != before:
            rank_zero_warn(f"`ActiveLearning`, round {self.round}: {said_of_left_out(left_out, len(points))}")
        self._fit.scores = scores
        self._fit.details = details
        self._fit.warning = warning
        if warning is not None and not self._warned:
            rank_zero_warn(f"`ActiveLearning`, round {self.round}: {warning}")
            self._warned = True

    def _tell_task(self, said: str) -> None:
        """Say once a run which task was guessed."""
        if not self._told_task:
            rank_zero_info(f"`ActiveLearning`: {said}")
            self._told_task = True

    def _has_only_left_out(self, data: ActiveDataModule) -> bool:
        """Return whether every unlabelled point is one that the round before could not score."""
        left_out = self.history[-1].unscorable if len(self.history) > 0 else []
        return self.unscorable == "skip" and set(left_out).issuperset(data.pool.unlabelled)

    # The fits of a round that takes several; its last one ends the round.

    @property
    def _is_last_fit(self) -> bool:
        return self._fit.member + 1 >= self._num_fits

    def _of_several(self, member: int) -> int | None:
        """Return a fit's number where a round has several."""
        return member if self._num_fits > 1 else None

    def _next_member(self, trainer: pl.Trainer, module: nn.Module, data: ActiveDataModule, number: int) -> int:
        """Return which fit of the round begins, with those before it at hand."""
        if self.done:
            return self._num_fits - 1
        seeds, changes = fit_seeds(self.seed, number, self._num_fits), len(data.pool.changes)

        def read(member: Member) -> dict[str, Tensor]:
            return self._load_weights(member.name, module)

        return on_each_rank(trainer, lambda: self._members.begin(number, changes, seeds, read))

    def _fit_other_members(self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
        """Finish each fit of the round but its last, and begin the one after it."""
        while not (self.done or self._fit.cut_short or self._is_last_fit):
            self._finish_member(trainer, module, data)
            with nested(trainer):
                trainer.fit(module, datamodule=data)

    def _finish_member(self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
        """Test a fit that is not the last of its round, and keep what it ended with."""
        fit = self._fit
        if self.test is not None:
            self._test(trainer, module, data)
        plain = from_first_rank(trainer, lambda: self._make_member().to_dict())
        member = Member(**plain, weights=fit.weights)

        def record(journal: Journal) -> None:
            journal.save_weights(member.name, self._members.at_hand[member.name])
            journal.append_member(member.to_dict())

        with held_back():
            self._members.done.append(member)
            self._change_journal(trainer, record)

    def _make_member(self) -> Member:
        fit = self._fit
        return Member(
            round=self.round,
            number=fit.member,
            seed=fit_seeds(self.seed, self.round, fit.member + 1)[fit.member],
            metrics=fit.metrics,
            seconds=fit.seconds,
            peak_bytes=fit.peak_bytes,
            steps=fit.steps,
            validation_labels=fit.validation_labels,
        )

    def _finish_round(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        data, fit = _datamodule(trainer), self._fit
        if fit.cut_short:
            rank_zero_info(
                f"`max_time` ended the fit of round {self.round}, so the round is not recorded and asks for nothing. "
                "Fit again with more time to go on."
            )
            return
        if self.done:
            self._checkpoints.finish(trainer, self.round - 1)
            return
        if self.test is not None:
            self._test(trainer, module, data)
        fit.fitted = None
        # Metrics that a module does not reduce differ between ranks; the first rank's are recorded everywhere.
        plain = from_first_rank(trainer, lambda: self._make_round(data).to_dict())
        if self.reset == "warm":
            # The end of the round before is kept too, since a larger budget takes the last round back.
            ends = [*(fit.weights for fit in self._members.fits), copy_weights(module)]
            for member, end in enumerate(ends):
                self._ends[end_name(self.round, member)] = dict(end)
                self._ends.pop(end_name(self.round - 2, member), None)
        if fit.indices:
            query = OpenQuery(self.round, fit.indices, fit.scores, probs=fit.probs, round=plain)
            self._begin_query(trainer, query, module)
            self._answer(trainer, data)
        else:
            self._end_round(trainer, data, Round.from_dict(plain), {})
        self._checkpoints.finish(trainer, plain["number"])

    def _begin_query(self, trainer: pl.Trainer, query: OpenQuery, module: nn.Module | None = None) -> None:
        """Record a query, and what it takes to go on without another fit, before anybody is asked."""
        weights = copy_weights(module) if module is not None and not reveals(self.oracle) else None

        def begin() -> None:
            if self._journal is not None and self.reset == "warm" and query.number != INITIAL:
                self._save_ends(self._journal, query.number)
            # What is revealed can be revealed again, after another fit.
            self._labelling.begin(query, weights, None if reveals(self.oracle) else self._journal)

        with held_back():
            on_each_rank(trainer, begin)

    def _answer(self, trainer: pl.Trainer, data: ActiveDataModule) -> None:
        """Ask for what the open query lacks; where all of it is answered, record the round."""
        query = self._labelling.query
        if query is None or not query.is_of_a_fit:
            return
        began = time.perf_counter()
        with without_drawing(), requeued_between_fits(trainer):
            labels = self._labelling.ask(self.oracle, trainer, data, self._journal, self.folder)
        if labels is None:
            return
        if query.round is None:
            data.pool.label_initial(labels)
            self._labelling.end()
            return
        seconds = {**query.round["seconds"], "label": time.perf_counter() - began}
        memory = {**query.round["peak_bytes"], **peak_bytes("label")}
        plain = {**query.round, "seconds": seconds, "peak_bytes": memory}
        self._end_round(trainer, data, Round.from_dict(from_first_rank(trainer, lambda: plain)), labels)

    def _end_round(
        self, trainer: pl.Trainer, data: ActiveDataModule, round: Round, labels: Mapping[int, Label]
    ) -> None:
        """Record a round, and move what it asked for to the labelled points."""
        with held_back():
            self._change_journal(trainer, lambda journal: self._record(journal, round, labels))
            if round.indices:
                data.pool.label(round.indices, labels)
            self.history.append(round)
            self._labelling.end()
            self._members = Members()
        set_logger_step(trainer, max(logger_step(trainer), sum(round.steps for round in self.history)))
        on_first_rank(trainer, lambda: _log(trainer, round))
        if not self.done:
            self._checkpoints.expect(trainer, self.round)

    @property
    def _is_to_end(self) -> bool:
        """Whether the call of `trainer.fit` has nothing more to run."""
        return self.done or self._fit.cut_short or self._labelling.is_pending

    def _note_lacking(self, trainer: pl.Trainer, data: ActiveDataModule) -> None:
        """Find out which initial points have no label, where there is somebody to ask for it."""
        if self.round == 0 and not reveals(self.oracle):
            data.pool.lacking = on_each_rank(trainer, data.without_label)

    def _initial_is_pending(self, trainer: pl.Trainer, data: ActiveDataModule) -> bool:
        """Ask for the labels of initial points that have none, and return whether any answers are still pending."""
        if not self._labelling.is_pending and data.pool.lacking and not self._resumed:
            self._begin_query(trainer, OpenQuery(INITIAL, list(data.pool.lacking), []))
            self._answer(trainer, data)
        return self._labelling.is_pending

    def _pass_over_fit(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Let the call train nothing, since answers are awaited, and leave the module as the last fit did."""
        assert self._labelling.query is not None
        number = self._labelling.query.number
        if number != INITIAL:
            if self._labelling.weights is None:
                self._labelling.weights = on_each_rank(
                    trainer, lambda: self._load_weights(weights_name(number), module)
                )
            put_weights(module, self._labelling.weights)
        self._start.leave_callbacks()
        self._unchecked.enter_context(without_sanity_check(trainer))
        self._unchecked.enter_context(without_training(trainer))

    def _end_call(self, trainer: pl.Trainer) -> None:
        """Let go of what a call of `trainer.fit` holds that ran no round."""
        self._start.end(trainer)
        self._stopping.end()
        self._spent = time.monotonic() - self._started
        with held_back():
            self._close_journal()

    def _make_round(self, data: ActiveDataModule) -> Round:
        """Return what the history records of the fit, once its query is answered."""
        fit = self._fit
        round = Round(
            number=self.round,
            labelled=data.pool.num_labelled,
            indices=fit.indices,
            scores=fit.scores,
            class_counts=data.class_counts(),
            metrics=fit.metrics,
            seconds=fit.seconds,
            steps=fit.steps,
            validation_labels=fit.validation_labels,
            tested_with=self.test or "module",
            details=fit.details,
            warning=fit.warning,
            peak_bytes=fit.peak_bytes,
            unscorable=fit.unscorable,
            corrected=[change.index for change in data.pool.changes if not change.given_back],
            given_back=[change.index for change in data.pool.changes if change.given_back],
        )
        return self._members.together(round)

    def _save_ends(self, journal: Journal, number: int) -> None:
        """Save what the fits of a round ended with, from which those of the next round start."""
        for name in (end_name(number, member) for member in range(self._num_fits)):
            journal.save_weights(name, self._ends[name])

    def _record(self, journal: Journal, round: Round, labels: Mapping[int, Label]) -> None:
        if self.reset == "warm" and not round.indices:
            self._save_ends(journal, round.number)
        journal.append(round, labels)
        _remove_older_weights(journal, round.number, self._num_fits)

    def _test(self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
        if not _has_test(module, data):
            return
        if self._fit.fitted is not None and self.test == "posterior":
            self._posterior_test = PosteriorTest(self._fit.fitted, data.target)
        callbacks = list(callbacks_of(trainer))
        try:
            seed = derive(self.seed, self.round, *purpose_of("test", self._fit.member))
            with self._clock("test"), nested(trainer), seeded(seed), self._start.tested(module):
                for metrics in trainer.test(module, datamodule=data, verbose=False):
                    self._fit.metrics.update(metrics)
            # A module's `configure_callbacks` gave the test others, which know nothing of the fit.
            set_callbacks(trainer, callbacks)
            if self._posterior_test is not None:
                self._take_health(self._posterior_test.compute())
        finally:
            self._posterior_test = None

    def _test_on_validation(self, fitted: Fitted, data: ActiveDataModule) -> None:
        """Test the posterior on the validation set where there is no test, after the selection, which it leaves be."""
        test = PosteriorTest(fitted, data.target)
        with self._clock("test"), seeded(derive(self.seed, self.round, "test")):
            on_each_rank(fitted.trainer, test.update_from_validation)
        self._take_health(test.compute(), prefix="val_")

    def _take_health(self, health: PosteriorHealth | None, prefix: str = "") -> None:
        """Note both rows of scores for the history, and warn, once a run, where sampling harms."""
        if health is None:
            return
        self._fit.metrics.update({f"{prefix}{name}": value for name, value in health.to_dict().items()})
        if health.warning is not None and not self._warned_of_posterior:
            rank_zero_warn(f"`ActiveLearning`, round {self.round}: {health.warning}")
            self._warned_of_posterior = True

    @contextmanager
    def _clock(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._fit.seconds[part] = self._fit.seconds.get(part, 0.0) + time.perf_counter() - began
        self._fit.peak_bytes.update(peak_bytes(part))

    def _timed(self, chunks: Iterator[Chunk], part: str) -> Iterator[Chunk]:
        """Count the time that chunks take, but not what is done with them in between."""
        while True:
            self._stopping.check()
            with self._clock(part):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def _on_this_rank(self, data: ActiveDataModule) -> dict[str, Any]:
        """Return what ranks must have in common."""
        return {
            **flat({name: value for name, value in self._header(data).items() if name != "text"}),
            **on_every_rank(self, data),
            "folder is given": self.folder is not None,
            "rounds": self.round,
            "labelled points": data.pool.rounds,
            "fits of the round": len(self._members.done),
        }

    # The journal.

    def _header(self, data: ActiveDataModule) -> dict[str, Any]:
        """Return what a run started again must have in common with the one in the folder."""
        return self._headers.of(self, data)

    @cached_property
    def _headers(self) -> Header:
        return Header()

    def _open_journal(self, trainer: pl.Trainer, data: ActiveDataModule, folder: str | os.PathLike[str]) -> None:
        """Open the run folder on the first rank, and bring history and pool to where it stands on every rank."""

        def read() -> Any:
            check_places(Path(folder), places_of(trainer))
            self._journal = Journal(folder)
            self._journal.weights_at_hand = self._weights_at_hand
            break_links(Path(folder), places_of(trainer))
            header = self._journal.header
            if header is not None:
                place = f"The run folder {self._journal.folder}"
                check_same_run(place, header, self._header(data), force=self.force)
            return self._journal.records, folder, self._journal.run_id or self._checkpoints.run_id

        # Each rank may have made up a name of its own, from the time say; the first one's holds the run.
        records, self.folder, self._checkpoints.run_id = from_first_rank(trainer, read)
        self._goes_on = records.header is not None
        recorded = from_first_rank(trainer, lambda: [] if self._journal is None else self._journal.members)
        self._members.take(recorded, len(records.changes))
        if self._goes_on:
            self._labelling.query = records.query
        rounds, pool = records.history, data.pool
        try:
            if len(self.history) == 0:
                pool.label_initial({i: label for i, label in records.initial.items() if i not in pool.labels})
            if len(self.history) == 0 and len(rounds) > 0:
                label_as_recorded(pool, records)
                self.history.load_state_dict(rounds.state_dict())
                rank_zero_info(f"Going on with the run in {folder}, which has {len(rounds)} rounds.")
                return
            for change in changes_since(pool.changes, records.changes):
                pool.change(change)
            there = len(records.queries) if self._take_back_changed_round(data) else len(rounds)
            if len(self.history) != there:
                raise ValueError(
                    f"`ActiveLearning` has a history of {len(self.history)} rounds, but its folder {folder} holds "
                    f"{there}. Go on with a new `ActiveLearning` on this folder, or choose another folder."
                )
        except ValueError:
            self._close_journal()
            raise

    def _resume_from_found(self, trainer: pl.Trainer, data: ActiveDataModule) -> None:
        """Resume from a checkpoint that Lightning found by itself, where nothing better says where the run stands."""
        path = found_by_lightning(trainer)
        if path is None:
            return
        found, reason = None, "it is of no active learning run"
        if self.folder is not None:
            reason = f"the run folder {self.folder} says where the run stands"
        elif self._initial is not None:
            reason = "this `ActiveLearning` goes on with its own run"
        else:
            found = on_each_rank(trainer, lambda: read_run(path, self.state_key, type(data).__qualname__))
        if found is None:
            if not self._told_of_found:
                rank_zero_info(f"Lightning found the checkpoint {path} by itself. It is ignored, since {reason}.")
            self._told_of_found = True
            return
        try:
            found.check(self._header(data), force=self.force)
        except ValueError as error:
            if not is_slurms(path):
                raise
            rank_zero_warn(f"{error} Until then it is ignored.")
            return
        found.label(data)
        self.history.load_state_dict(found.history.state_dict())
        self._initial, self._goes_on = found.initial, True
        self._ends.update(found.ends)
        if found.members is not None:
            self._members.load_state_dict(found.members)
        rank_zero_info(
            f"Resuming the run in {path}, a checkpoint that Lightning found by itself: it has {self.round} rounds, "
            f"and round {self.round} begins again."
        )

    def _change_journal(self, trainer: pl.Trainer, change: Callable[[Journal], object]) -> None:
        """Change the journal, where there is one, on the first rank."""

        def act() -> None:
            assert self._journal is not None
            change(self._journal)

        if self.folder is not None:
            on_first_rank(trainer, act)

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None


@dataclass
class _Fit:
    """What is known of the fit under way, before it is a `Round`."""

    member: int = 0
    began: float = 0.0
    steps: int = 0
    cut_short: bool = False
    indices: list[int] = field(default_factory=list)
    unscorable: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    details: dict[str, float | list[float]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    validation_labels: int = 0
    fitted: Fitted | None = None
    weights: dict[str, Tensor] | None = None
    warning: str | None = None
    probs: list[list[float]] | None = None


def _datamodule(trainer: pl.Trainer) -> ActiveDataModule:
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ActiveDataModule):
        got = "no datamodule" if data is None else f"`{type(data).__name__}`"
        raise TypeError(
            f"`ActiveLearning` needs an `ActiveDataModule`, which splits the training data into labelled points and a "
            f"pool, but the Trainer has {got}. Call `trainer.fit(model, datamodule=ActiveDataModule(data, "
            "initial_size=20))`."
        )
    return data


def _tell_ranks(trainer: pl.Trainer, number: int) -> None:
    """Hand a signal on to the processes that the first rank started, where it was sent to that one alone."""
    if trainer.strategy.launcher is not None:
        trainer.strategy.launcher.kill(number)


def _has_test(module: pl.LightningModule, data: ActiveDataModule) -> bool:
    return is_overridden("test_step", module) and is_overridden("test_dataloader", data)


def _refuse_what_cannot_refit(trainer: pl.Trainer) -> None:
    check_strategy(trainer)
    for callback in callbacks_of(trainer):
        if isinstance(callback, pl.callbacks.LearningRateFinder | pl.callbacks.BatchSizeFinder):
            raise ValueError(
                f"`ActiveLearning` cannot fit again with the callback `{type(callback).__name__}`, after which "
                "Lightning trains 0 steps from the second fit on. Find the value once beforehand with "
                "`pytorch_lightning.tuner.Tuner`, and pass it on."
            )


def _check_choice(name: str, value: object, choices: tuple[str, ...], other: str = "") -> None:
    if value not in choices:
        known = ", ".join(choices) + (f", or {other}" if other else "")
        raise ValueError(f"`ActiveLearning({name}={value!r})` is not known. Choose one of: {known}.")


def _load_checkpoint(module: pl.LightningModule, path: str) -> None:
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


def _remove_older_weights(journal: Journal, number: int, num_fits: int) -> None:
    """Remove what a recorded round needs no longer, of which a killed process may have left several.

    Of the rounds before the last two that is what each fit ended with, of the others what they ended with but the last.
    """
    for older, member in product(range(number + 1), range(num_fits)):
        if older < number - 1:
            journal.remove_weights(end_name(older, member))
        if num_fits > 1:
            journal.remove_weights(member_name(older, member))
    for older in range(number + 1):
        journal.remove_weights(weights_name(older))


def _is_validation_of_fit(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _log(trainer: pl.Trainer, round: Round) -> None:
    figures: dict[str, float] = {
        "al/round": round.number,
        "al/labelled": round.labelled,
        "al/asked": len(round.indices),
        "al/validation_labels": round.validation_labels,
    }
    figures.update({f"al/{name}": value for name, value in round.metrics.items()})
    figures.update({f"al/seconds_{part}": value for part, value in round.seconds.items()})
    figures.update({f"al/class_{label}": count for label, count in (round.class_counts or {}).items()})
    # Of a figure that is there for each pick, the last one stands for the batch.
    figures.update(
        {f"al/{name}": value if isinstance(value, float) else value[-1] for name, value in round.details.items()}
    )
    if round.unscorable:
        figures["al/unscorable"] = len(round.unscorable)
    if round.scores:
        figures.update({"al/score_first": round.scores[0], "al/score_last": round.scores[-1]})
    log_over_labels(trainer.loggers, round)
    for logger in trainer.loggers:
        logger.log_metrics(figures, step=logger_step(trainer))
        logger.save()
