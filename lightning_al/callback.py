"""The Lightning callback that runs active learning: fit, score the pool, query, label, fit again.

The class is long because it documents 19 arguments and has 14 hooks. What a hook does is in `rounds/` and `host/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal

from lightning_utilities.core.rank_zero import rank_zero_only
from typing_extensions import override

from lightning_al.data.features.points import check_arrays, check_test_features, compute_features
from lightning_al.data.validation_points import ValidationPoints
from lightning_al.host.found_checkpoints import let_write
from lightning_al.host.monitors import refuse_monitors_without_validation
from lightning_al.host.namespace import check_namespace, pl, rank_zero_info
from lightning_al.host.ranks import from_first_rank, on_each_rank
from lightning_al.host.same_on_ranks import check_same_on_ranks
from lightning_al.host.signals import leave_by, only_note_sigterm, requeue_without_waiting
from lightning_al.host.strategies import check_strategy, refuse_spawning
from lightning_al.host.timers import carry_on_timers, time_is_up
from lightning_al.host.trainer import (
    callbacks_of,
    logger_step,
    put_first,
    rewind,
    set_callbacks,
    set_logger_step,
    tell_those_after,
    without_sanity_check,
    without_training,
)
from lightning_al.host.tuners import refuse_tuners
from lightning_al.oracle import Query, reveals
from lightning_al.oracle.telling import pending_in, tell
from lightning_al.rounds.arguments import Arguments
from lightning_al.rounds.asking import (
    answer,
    ask_for_initial,
    note_lacking,
    put_last_weights,
    take_corrections,
    warn_of_unknown_seconds,
)
from lightning_al.rounds.audit import audit_model, check_size
from lightning_al.rounds.best_weights import choose_weights
from lightning_al.rounds.call import Call, no_step_error, pass_signal_on
from lightning_al.rounds.datamodule import datamodule_of
from lightning_al.rounds.dev_run import begin_dev_or_real_run
from lightning_al.rounds.fit import CurrentFit
from lightning_al.rounds.header import text_of
from lightning_al.rounds.items import recall_run
from lightning_al.rounds.labelling import believed
from lightning_al.rounds.members import fit_seeds
from lightning_al.rounds.progress import tell_end, tell_progress
from lightning_al.rounds.pseudo_labels import pseudo_label
from lightning_al.rounds.querying import fitted_now, select, try_out
from lightning_al.rounds.resuming import load_checkpoint, open_folder, resume_from_found, tell_how_to_resume
from lightning_al.rounds.run import Run
from lightning_al.rounds.starts import give_lazy_layers_shapes
from lightning_al.rounds.testing import has_test, test_on_validation
from lightning_al.run.folder import has_journal
from lightning_al.run.history import History
from lightning_al.run.seeds import seeded
from lightning_al.run.stopping import StoppedError, held_back, is_insisting
from lightning_al.run.weights import copy_weights, put_matching


class ActiveLearning(Arguments):
    """Query the labels that the model would learn most from, and fit again with them.

    One ``trainer.fit(model, datamodule=data)``, with `data` an `ActiveDataModule`, runs every round: fit, score the
    pool with posterior samples, select a query, have it labelled, and fit again from the initial weights. `max_epochs`
    and `max_steps` count per fit, `max_time` for the whole run. The last labels are trained on too.

    Before the first step, six points of the pool are scored and a query is selected and discarded, so that what cannot
    work fails at once. This changes neither the module nor the states of random generators.
    ``Trainer(num_sanity_val_steps=0)`` skips it.

    Args:
        acquisition: The acquisition function that selects points: a name (see `lightning_al.available`) or an object.
        query_size: Number of labels to query after each fit. The last query may be smaller.
        budget: Total number of training labels, including the initial ones. By default the whole pool.
        max_rounds: Maximum number of rounds. By default as many as the budget allows.
        budget_seconds: No query begins once all answers took so many seconds, as far as they say it (`Answer`). What
            does not say it counts as nothing.
        posterior: How the weights are sampled: a name (see `lightning_al.available_posteriors`) or an object. Its
            `num_fits` is the number of fits in a round.
        task: What the module's outputs mean: `multiclass`, logits ``[n, C]``, or `binary`, the logit of class 1 ``[n]``
            or ``[n, 1]``, or two logits. By default multiclass, but binary where there is one output a point and all
            labels that are trained on are 0 or 1.
        forward: A function of the module and a collated batch, on the device and with labels hidden, that returns raw
            outputs ``[n, ...]``. By default the module is called on the batch's inputs, and of what it returns
            `.logits` or ``["logits"]`` is read.
        oracle: Who labels: a name (see `lightning_al.available_oracles`), an `Oracle` or another object with its method
            `label`, or a function of the query that returns ``{index: label}``, or yields ``index, label``. By default
            the dataset's own targets are revealed. Answers are checked before they are recorded. If one is refused,
            the valid ones are kept. Missing answers are pending: `trainer.fit` returns, and its next call queries only
            those, without another fit. Initial points without a label in the dataset are queried before the first fit.
        seed: Seed of the fits, the posterior samples and the selections. By default that of
            `pytorch_lightning.seed_everything`, where the program called it, else 0.
        weights: Which weights of a fit to keep: the best ones, if a ModelCheckpoint monitors a metric, or always the
            last ones.
        reset: What a round starts from: the weights before the first fit (`initial`), newly drawn ones (`fresh`),
            those of the round before (`warm`), or those of a new module that a function returns.
        rounds_per_fit: How many rounds a call of `trainer.fit` runs, 1 to own the loop. By default all.
        test: What to test after each fit, where there are a test step and test data: the `module`, nothing (None), or
            (`posterior`) also the mean of the posterior samples and, on the same points, the network without sampling:
            metrics `posterior_accuracy`, `posterior_nll` and `posterior_ece`, and `deterministic_accuracy` and so on.
            Where there is no test, they are measured on the validation set and named `val_posterior_accuracy` and so
            on. A warning, once, says where sampling harms.
        folder: Where to keep the run's journal. A run that is started again with its folder resumes from there. A
            relative path is resolved when it is passed. With ``Trainer(fast_dev_run=...)`` the run is tried out in
            memory: the folder is neither read nor written, and an oracle that asks people is refused.
        last_layer: How to read embeddings, for an acquisition function that uses them: a `LastLayer`. By default they
            are the inputs of the network's last linear layer, in float32.
        unscorable: What to do with points of the pool that cannot be scored, because their item cannot be read or the
            module returns NaN or Inf: raise an error that names them (`raise`), or select without them (`skip`), name
            them in a warning and list them in the history. If no point can be scored, the run ends with an error.
        keep_checkpoints: Whether to keep the checkpoints of all rounds, and not only those of the newest.
        force: Whether to resume, with a warning, although something differs that changes later queries or weights,
            such as the acquisition function, seed, reset or the contents of the data. Different points, initial labels,
            class numbers or shapes of weights are always refused.

    Attributes:
        history: A `History`, one `Round` for each round, whatever its number of fits.
        done: Whether the last fit had nothing left to query.
        pending: The `Query` whose answers are pending, or None.

    Raises:
        ValueError: If an argument is out of its range or a name is unknown.

    >>> active = ActiveLearning("entropy", query_size=10, budget=100, posterior="deterministic")
    >>> active.done, len(active.history)
    (False, 0)
    """

    @cached_property
    def _call(self) -> Call:
        return Call(Run(self))

    @property
    def _run(self) -> Run:
        return self._call.run

    def __repr__(self) -> str:
        limits = {"query_size": self.query_size, "budget": self.budget, "max_rounds": self.max_rounds}
        said = [f"{name}={number}" for name, number in limits.items() if number is not None]
        parts = {"posterior": self.posterior, "oracle": self.oracle}
        said += [f"{name}={text_of(part)}" for name, part in parts.items()]
        rounds = "1 round" if self.round == 1 else f"{self.round} rounds"
        state = f"{rounds} done, finished" if self.done else f"{rounds} done"
        query = self._run.labelling.query
        if query is not None and self._run.labelling.is_pending:
            state += f", {len(query.rest)} of {len(query.points)} labels pending"
        return f"{type(self).__name__}({', '.join([text_of(self.acquisition), *said])}; {state})"

    @property
    def history(self) -> History:
        """The rounds that have ended."""
        return self._run.history

    @property
    def done(self) -> bool:
        """Whether the last fit had nothing left to query, its labels having been trained on."""
        return self.history.done

    @property
    def pending(self) -> Query | None:
        """The query whose answers are pending, or None. The next call of `trainer.fit` queries them, without a fit.

        In a new process it is read from the run's folder, without the items.

        Raises:
            RuntimeError: If it is to be read and another process runs the run, or the journal is damaged.
        """
        run = self._run
        is_new = run.header is None and run.journal is None and run.labelling.query is None
        return pending_in(self.folder) if is_new and self.folder is not None else run.labelling.pending

    def tell(
        self,
        answers: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        *,
        by: Literal["index", "key"] = "index",
        who: str | None = None,
    ) -> None:
        """Record answers to the pending query, between two calls of `trainer.fit`. They are on disk when this returns.

        Valid answers are recorded even if others are refused. With several ranks, the first one records them. A
        `Correction` of an earlier answer may be told at any time, also where no query is pending.

        Args:
            answers: Labels, `Skip()`, `Unusable(reason)`, `Other(text)` or `Correction(label)`, by the index or by the
                key of their points. An `Answer` around one says how long it took, and who gave it.
            by: Whether they come by index or by key.
            who: Who gave those that do not say it themselves.

        Raises:
            FileNotFoundError: If the folder holds no run yet.
            RuntimeError: If another process runs the run, or the journal is damaged.
            ValueError: If the run has no folder, no query is pending, `who` is no name, or answers were refused.
        """
        if self.folder is None:
            raise ValueError("`ActiveLearning.tell` records answers in the run's folder. Pass `folder=`.")
        if by not in ("index", "key"):
            raise ValueError(
                f"`ActiveLearning.tell(by=...)` takes 'index' or 'key', but got {by!r}. Pass one of the two."
            )
        if getattr(rank_zero_only, "rank", 0) == 0:
            try:
                tell(self.folder, answers, by=by, who=who)
            finally:
                self._run.labelling.take_answers(self.folder)

    @property
    def round(self) -> int:
        """Number of the round that the next fit is, or the current one."""
        return self._run.round

    def tidy(self, trainer: pl.Trainer) -> History:
        """Return the history of the finished run in `folder`, without what a process killed at its end left there.

        Args:
            trainer: The Trainer that has the run's callbacks; it fits nothing.
        """
        return self._run.tidy(trainer)

    @override
    def before_setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the fit start as a new Trainer with a new module would."""
        if stage == "fit":
            data = datamodule_of(trainer)
            begin_dev_or_real_run(self._run, trainer)
            data.skips_unreadable = self.skips_unscorable
            if data.is_set_up and self._run.header is None:
                check_size(data, self.budget)
            recall_run(trainer, data, self.folder, self.budget)
            self._call.start.before_setup(trainer, pl_module)
            if self._run.starts.initial is not None and self.reset != "warm":
                # A callback may copy in its `setup` what the round starts from.
                put_matching(pl_module, self._run.starts.initial)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that the run can work, find out where it stands, and ask for labels that are pending."""
        if stage != "fit":
            return
        check_namespace(trainer, "Trainer")
        run, call, data = self._run, self._call, datamodule_of(trainer)
        self.take_numbers()
        check_strategy(trainer)
        refuse_tuners(trainer)
        if not call.is_nested:
            check_same_on_ranks(
                trainer,
                "The arguments or the state of `ActiveLearning` and `ActiveDataModule`",
                lambda: run.on_this_rank(data),
                "Pass the same on every rank, and keep those of all ranks together.",
            )
            call.stopping.begin(lambda number: pass_signal_on(trainer, self, number))
        # SWA, EMA and checkpoints act at the end of training; the pool is scored after them.
        set_callbacks(trainer, [*(callback for callback in callbacks_of(trainer) if callback is not self), self])
        self.check_data(data)
        refuse_monitors_without_validation(trainer)
        if not call.is_nested:
            if run.header is None and not from_first_rank(trainer, lambda: has_journal(self.folder)):
                data.check_earlier_classes()
            if self.folder is not None:
                open_folder(run, trainer, data, self.folder)
                if data.frozen is not None:
                    data.frozen.keep_in(self.folder, trainer)
                run.keep_new_keys(trainer, data)
            resume_from_found(run, trainer, data, self.state_key)
            if run.is_resumed or run.header is not None:
                take_corrections(run, trainer, data)
            run.take_back_changed_round(data.pool)
            run.take_changes(trainer, data, run.num_changes_told)
        run.check_pool(data.pool)
        run.take_back_last_round(trainer, data.pool)
        rewind(trainer)
        only_note_sigterm(trainer)
        requeue_without_waiting(trainer)
        set_logger_step(trainer, max(logger_step(trainer), run.steps))
        began = call.start_clock()
        if call.is_nested or call.has_begun_before:
            carry_on_timers(trainer, began)
        if not call.is_nested:
            # Before the loaders are made, which are those of the labels that come now.
            warn_of_unknown_seconds(run)
            note_lacking(run, trainer, data)
            answer(run, trainer, data)
        if not run.labelling.is_pending:
            run.take_pseudo_labels(trainer, data)  # of which a scheduler may count the steps

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check that the checkpoint is one of this run, and prepare the other callbacks for its states for them.

        Raises:
            ValueError: If the checkpoint is of another run, or of none, or the run folder is at another round.
        """
        load_checkpoint(self._call, self, trainer, checkpoint)

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put weights, callbacks and seeds to where the round starts."""
        run, call, data = self._run, self._call, datamodule_of(trainer)
        call.stopping.check()
        let_write(trainer)
        fit = call.fit = CurrentFit()
        resumes = call.is_within_fit
        run.header = run.header_of(data)
        if resumes:
            run.check_pool(data.pool)
        else:
            call.validation = ValidationPoints()
        on_each_rank(trainer, lambda: give_lazy_layers_shapes(self, trainer, pl_module, data))
        call.start.after_setup()
        run.checkpoints.name_run(trainer)
        reads_test = self.test is not None and not call.is_nested and has_test(pl_module, data)
        if not call.is_nested:
            check_arrays(data, has_test=reads_test)
        if run.starts.initial is None:
            run.begin(trainer, pl_module, data)
        if not resumes:
            ask_for_initial(run, trainer, data)
        if run.labelling.is_pending:
            self._pass_over_fit(trainer, pl_module)
            return
        compute_features(data)
        if reads_test:
            check_test_features(data)
        tell_progress(run, trainer, data, "done" if self.done else "fitting")
        # A fit of a run that is done repeats the last one.
        number = self.round - 1 if self.done else self.round
        if not resumes:
            call.callbacks.remember_or_restore(trainer, but=self)
        again = not resumes and (run.is_resumed or self.done)
        fit.member = run.next_member(trainer, pl_module, data.pool)
        run.checkpoints.begin(trainer, number, again=again, member=fit.member if self.num_fits > 1 else None)
        fit.seeded.enter_context(seeded(fit_seeds(self.seed, number, fit.member + 1)[fit.member]))
        if number + fit.member > 0 and not call.is_nested:
            fit.until_first_step.enter_context(without_sanity_check(trainer))
        run.take_pseudo_labels(trainer, data)
        if not resumes:
            on_each_rank(trainer, lambda: run.starts.reset(self, trainer, pl_module, data, number, fit.member))
        call.is_within_fit = False
        if self.done:
            rank_zero_info("The active learning run is done: this fit repeats its last one, and is not recorded.")

    def _pass_over_fit(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Let the call train nothing, since answers are awaited, and leave the module as the last fit did."""
        put_last_weights(self._run, trainer, module)
        self._call.start.leave_callbacks()
        self._call.fit.until_first_step.enter_context(without_sanity_check(trainer))
        self._call.fit.until_first_step.enter_context(without_training(trainer))

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score a few points where the user's call begins, and start the clock of the fit."""
        self._call.fit.until_first_step.close()
        if not self._call.is_nested:
            on_each_rank(trainer, lambda: try_out(self._run, trainer, pl_module, datamodule_of(trainer)))
        self._call.fit.begin_training()

    @override
    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Stop here too where the process was told to, as after each batch that is validated, tested or scored."""
        self._call.stopping.check()

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count the points of a fit's validation."""
        if _is_validation_of_fit(trainer):
            self._call.validation.begin(trainer)

    @override
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
        self._call.stopping.check()
        if _is_validation_of_fit(trainer):
            self._call.validation.add(trainer, batch, dataloader_idx)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the weights, score the pool and select what to query, while the module is still on its device."""
        run, call, fit, data = self._run, self._call, self._call.fit, datamodule_of(trainer)
        call.stopping.check()
        fit.end_training(trainer)
        fit.validation_labels = call.validation.number(trainer)
        on_each_rank(trainer, lambda: choose_weights(run, fit, trainer, pl_module))
        if fit.steps == 0 or fit.cut_short or self.done:
            return
        if not call.is_last_of_round:
            fit.weights = copy_weights(pl_module)
            return
        fit.fitted = fitted_now(run, trainer, pl_module, data)
        b = self.num_to_query(self.round, data.pool)
        query = run.labelling.recall(trainer, self.round)
        if query is not None:
            fit.take_query(query)
        elif b > 0:
            check = call.stopping.check
            select(run, fit, fit.fitted, b, checks_labels=not call.is_nested, check_stopped=check)
        if fit.indices and not reveals(self.oracle):
            run.labelling.look_at(trainer, pl_module, data, self.forward_on(data))
            fit.probs = believed(fit.fitted, fit.indices)
        audit_model(run, fit)
        pseudo_label(run, fit)
        if self.test == "posterior":
            if has_test(pl_module, data):
                _ = fit.fitted.samples  # drawn while the module is on its device
            else:
                test_on_validation(run, fit, fit.fitted)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Test, label and record; then, where this is the call of the user, run the other rounds."""
        run, call, fit = self._run, self._call, self._call.fit
        fit.seeded.close()
        fit.until_first_step.close()
        if self._run.labelling.is_pending and fit.steps == 0:
            call.end_without_fit(trainer)
            return
        # Where time is up before the first step, training has neither begun nor ended.
        fit.cut_short = fit.cut_short or time_is_up(trainer)
        if fit.steps == 0 and not fit.cut_short:
            raise no_step_error(trainer, self.round)
        if call.is_nested:
            return
        call.is_nested = True
        try:
            call.run_rounds(trainer, pl_module, datamodule_of(trainer), self)
        except BaseException:
            if is_insisting():  # as a callback before this one failed when it was told of an error
                put_first(trainer, self)
            raise
        finally:
            call.is_nested = False
            if not (run.done or run.labelling.is_pending):
                tell_end(run, datamodule_of(trainer))
            call.let_go()

    @override
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
        self._call.stopping.check()
        if self._call.fit.posterior_test is not None:
            self._call.fit.posterior_test.update(batch)

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Put the seeds back and let go of the journal. The round that was cut off is not recorded."""
        run, call = self._run, self._call
        call.fit.until_first_step.close()
        try:
            with held_back():
                if call.stopping.error is None and run.header is not None:
                    forward = self.forward_on(datamodule_of(trainer))
                    run.labelling.explain(exception, trainer, pl_module, forward, self.folder)
                call.start.end(trainer)
                call.fit.seeded.close()
                if run.header is not None and not run.labelling.is_pending:
                    tell_end(run, getattr(trainer, "datamodule", None))
                run.close_journal()
        finally:
            stopped = call.stopping.end()  # by a signal that came meanwhile, too
            if isinstance(exception, StoppedError):
                stopped = exception
            if stopped is not None:
                tell_those_after(trainer, self, pl_module, stopped)
                tell_how_to_resume(run, trainer, stopped)
                leave_by(trainer, stopped)

    def __getstate__(self) -> dict[str, Any]:
        """Be pickled and copied as any object, but not for a process that could not run the rounds."""
        if self._run.header is None:  # later on, they are the workers of a DataLoader
            refuse_spawning()
        return vars(self)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the history, the initial weights and what the run is: with the pool, all to resume from."""
        validation = self._call.validation.state_dict()
        return {**self._run.state_dict(self._call.fit.member), "validation": validation}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state from a checkpoint; the fit resumes in the middle of its round."""
        self._run.load_state_dict(state_dict)
        if "validation" in state_dict:
            self._call.validation.load_state_dict(state_dict["validation"])
        self._call.is_within_fit = True


def _is_validation_of_fit(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == "fit" and not trainer.sanity_checking
