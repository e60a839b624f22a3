"""The user's call of `trainer.fit`, which runs the fits of all rounds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.validation_points import ValidationPoints
from lightning_al.host.callback_states import CallbackStates
from lightning_al.host.loggers import held_open
from lightning_al.host.namespace import pl, rank_zero_info
from lightning_al.host.nested_fits import end_fit_early, nested, skip_end_of_fit, unprofiled
from lightning_al.host.quiet import quiet
from lightning_al.host.ranks import from_first_rank
from lightning_al.host.round_start import RoundStart
from lightning_al.host.signals import requeued_between_fits, tell_ranks
from lightning_al.host.trainer import put_first
from lightning_al.rounds.asking import answer, begin_query, end_round, take_corrections
from lightning_al.rounds.audit import mixed, to_audit
from lightning_al.rounds.fit import CurrentFit
from lightning_al.rounds.members import Member, fit_seeds
from lightning_al.rounds.progress import answered_ahead, tell_progress
from lightning_al.rounds.run import Run
from lightning_al.rounds.testing import test
from lightning_al.run.history import Round
from lightning_al.run.records import OpenQuery
from lightning_al.run.stopping import Stopping, held_back
from lightning_al.run.weights import copy_weights


class Call:
    """Run the rounds of a run, in one call of `trainer.fit` or in several.

    Args:
        run: The run.

    Attributes:
        fit: The fit under way, or the one that has just ended.
        stopping: Ends the call where the process is told to stop.
        start: Makes each fit start as that of a new Trainer with a new module.
        callbacks: What the other callbacks are before their first fit.
        validation: Counts the points of the fit's validation.
        is_nested: Whether fits are called from within the call of the user.
        is_within_fit: Whether the fit that begins resumes in its middle, from a checkpoint that the user named.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.fit = CurrentFit()
        self.stopping = Stopping()
        self.start = RoundStart()
        self.callbacks = CallbackStates()
        self.validation = ValidationPoints()
        self.is_nested = False
        self.is_within_fit = False
        self._began = 0.0
        self._seconds = 0.0

    @property
    def has_begun_before(self) -> bool:
        """Whether time counts that an earlier call took."""
        return self._seconds > 0

    def start_clock(self) -> float:
        """Return when the run began, had no time passed between the calls, in seconds of `time.monotonic`."""
        if not self.is_nested:
            self._began = time.monotonic() - self._seconds
        return self._began

    def let_go(self) -> None:
        """Stop the clock, and close the journal."""
        self._seconds = time.monotonic() - self._began
        with held_back():
            self.run.close_journal()

    def end_without_fit(self, trainer: pl.Trainer) -> None:
        """Let go of what a call holds that ran no fit."""
        self.start.end(trainer)
        self.stopping.end()
        self.let_go()

    def run_rounds(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        data: ActiveDataModule,
        callback: pl.Callback,
    ) -> None:
        """Finish the round whose fit the user called, and run the others, one fit and one test after the other.

        Args:
            trainer: The Trainer, in `on_fit_end` of the user's fit.
            module: The module.
            data: The data.
            callback: Whose `on_fit_end` this is.
        """
        with self._nesting(trainer, module, data, callback):
            self._finish(trainer, module, data)
            rounds = 1
            while not (self._is_to_end or rounds == self.run.active.rounds_per_fit):
                self._fit_again(trainer, module, data)
                self._finish(trainer, module, data)
                rounds += 1
            self.stopping.check()
        self.start.end(trainer)
        skip_end_of_fit(trainer, module)
        self.stopping.end()

    @contextmanager
    def _nesting(
        self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, callback: pl.Callback
    ) -> Iterator[None]:
        with (
            unprofiled(trainer, callback, "on_fit_end"),
            quiet(trainer),
            held_open(trainer),
            data.held(),
            requeued_between_fits(trainer),
        ):
            end_fit_early(trainer, module)
            yield

    def _fit_again(self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
        with nested(trainer):
            trainer.fit(module, datamodule=data)

    @property
    def _is_to_end(self) -> bool:
        """Whether the call has nothing more to run."""
        return self.run.done or self.fit.cut_short or self.run.labelling.is_pending

    @property
    def is_last_of_round(self) -> bool:
        """Whether the fit is the last of its round."""
        return self.fit.member + 1 >= self.run.active.num_fits

    def _finish(self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
        """Finish the fit, run the other fits of its round, and finish the round."""
        while not (self.run.done or self.fit.cut_short or self.is_last_of_round):
            self._finish_member(trainer, module, data)
            self._fit_again(trainer, module, data)
        self._finish_round(trainer, module, data)

    def _finish_member(self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
        """Test a fit that is not the last of its round, and keep what it ended with."""
        run, fit = self.run, self.fit
        test(run, fit, self.start, trainer, module, data)
        seed = fit_seeds(run.active.seed, run.round, fit.member + 1)[fit.member]
        plain = from_first_rank(trainer, lambda: fit.to_member(run.round, seed).to_dict())
        run.add_member(trainer, Member(**plain, weights=fit.weights))

    def _finish_round(self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
        """Test the last fit of a round, have its query labelled, and record the round."""
        run, active, fit = self.run, self.run.active, self.fit
        if fit.cut_short:
            rank_zero_info(
                f"`max_time` ended the fit of round {run.round}, so the round is not recorded and queries nothing. "
                "Fit again with more time to resume."
            )
            return
        if run.done:
            run.checkpoints.finish(trainer, run.round - 1)
            return
        test(run, fit, self.start, trainer, module, data)
        fit.fitted = None

        ahead = answered_ahead(run, trainer, data) if fit.indices else []
        audited = to_audit(active, data, run.round, len(fit.indices), ahead) if fit.indices else []

        def make() -> dict[str, object]:
            return run.members.together(fit.to_round(run.round, data, active.test or "module", audited)).to_dict()

        # Metrics that a module does not reduce differ between ranks; the first rank's are recorded everywhere.
        plain = from_first_rank(trainer, make)
        if active.reset == "warm":
            run.starts.keep_ends(run.round, [*(fit.weights for fit in run.members.fits), copy_weights(module)])
        number = run.round
        if data.pseudo_labels is not None and fit.indices:
            run.starts.keep_pseudo_labels(number, fit.pseudo_labels)
        if fit.indices:
            asked = mixed(fit.indices, audited, active.seed, number)
            keys = data.keys_of(asked or fit.indices)
            query = OpenQuery(number, fit.indices, fit.scores, probs=fit.probs, round=plain, keys=keys, asked=asked)
            begin_query(run, trainer, query, module)
            answer(run, trainer, data)
        else:
            end_round(run, trainer, data, Round.from_dict(plain), {})
            tell_progress(run, trainer, data, "done")
            take_corrections(run, trainer, data)
            if not run.done:
                tell_progress(run, trainer, data, "fitting")
        run.checkpoints.finish(trainer, number)


def no_step_error(trainer: pl.Trainer, round: int) -> RuntimeError:
    """Return the error for a fit that took no step."""
    if trainer.ckpt_path is not None and trainer.global_step > 0:
        return RuntimeError(
            f"The checkpoint {trainer.ckpt_path} is of a fit that had finished, after {trainer.global_step} "
            "steps, so there is nothing to resume. Leave out `ckpt_path` and start the run again on its "
            "`folder=`, or raise `max_epochs` or `max_steps` of the Trainer."
        )
    return RuntimeError(
        f"Round {round} of active learning trained 0 steps, so there is nothing to score the pool with. "
        "Check `max_epochs`, `max_steps` and `limit_train_batches` of the Trainer, and that the train loader "
        "has batches."
    )


def pass_signal_on(trainer: pl.Trainer, callback: pl.Callback, number: int) -> None:
    """Pass a signal on to the other ranks, and let a callback be the first to hear of the error that it raises."""
    tell_ranks(trainer, number)
    if trainer.state.status != "interrupted":  # or others may have been told of an error already
        put_first(trainer, callback)
