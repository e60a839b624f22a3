"""A progress bar for the fit under way, and a line for each round that is done."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from typing_extensions import override

from lightning_al.callback import ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.report.console import PlainConsole
from lightning_al.run.history import History, Round, said_of_audit
from lightning_al.run.printable import printable


class RoundProgress(pl.callbacks.ProgressBar):
    """Show the steps of the fit under way, and print a line for each round that is done.

    It replaces Lightning's progress bar, which would print several lines a round. If the output is not a terminal, only
    the lines of the rounds are printed.

    Args:
        metric: Metric to show of each round, or None for the test accuracy, if there is one.
        console: Where to print; by default standard output.

    Attributes:
        heading: What each line begins with, where several runs print at the same time.
    """

    def __init__(self, metric: str | None = "test_acc", console: Console | None = None) -> None:
        super().__init__()
        self.metric = "test_acc" if metric is None else metric
        self.console = console or PlainConsole()
        self.heading = ""
        self._enabled = True
        self._told = 0
        self._progress: Progress | None = None
        self._task = TaskID(0)

    @override
    def disable(self) -> None:
        """Show nothing, as on every process but the first."""
        self._enabled = False

    @override
    def enable(self) -> None:
        """Show everything again."""
        self._enabled = True

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the progress bar of a fit."""
        history = _history(trainer)
        self._tell(history)
        if not (self._enabled and self.console.is_terminal):
            return
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._progress = Progress(*columns, console=self.console, transient=True)
        self._task = self._progress.add_task(f"round {len(history)}: fit", total=_steps(trainer))
        self._progress.start()

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Advance the progress bar."""
        if self._progress is not None:
            self._progress.update(self._task, completed=trainer.global_step)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show that the pool is scored next."""
        if self._progress is not None:
            self._progress.update(self._task, description=f"round {len(_history(trainer))}: score")

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the progress bar."""
        self._clear()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the progress bar."""
        self._clear()

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Print a line for each round that is done."""
        self._tell(_history(trainer))

    def _clear(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _tell(self, history: History) -> None:
        for round in history[self._told :]:
            if self._enabled:
                self.console.print(f"{self.heading}{line_of_round(round, self.metric)}", soft_wrap=bool(self.heading))
        self._told = len(history)


def line_of_round(round: Round, metric: str) -> str:
    """Say in a line what a round trained on, reached and queried."""
    value = f", {printable(metric)} {round.metrics[metric]:.4f}" if metric in round.metrics else ""
    asked = f", asked for {len(round.indices) + len(round.audited)}" if round.indices else ""
    audit = f", {said_of_audit(round.audit)}" if round.audit else ""
    trained = f", of which {round.labelled} are trained on" if round.labelled != round.spent else ""
    seconds = f"{sum(round.seconds.values()):.1f} s"
    return f"round {round.number}: {round.spent} labels{trained}{value}{audit}{asked} in {seconds}"


def _history(trainer: pl.Trainer) -> History:
    active = (callback.history for callback in trainer.callbacks if isinstance(callback, ActiveLearning))  # type: ignore[attr-defined]
    return next(active, History())


def _steps(trainer: pl.Trainer) -> float | None:
    steps = trainer.estimated_stepping_batches
    return steps if steps < float("inf") else None
