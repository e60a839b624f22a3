"""What a run is doing, on one line, and what each round came to, on a line each."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lightning_al.callback import ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.report.console import PlainConsole
from lightning_al.report.printable import printable
from lightning_al.run.history import History, Round


class RoundProgress(pl.callbacks.ProgressBar):
    """Show the steps of the fit under way, and leave a line behind for each round that is done.

    It takes the place of Lightning's progress bar, which would leave several lines for each of the rounds.

    Where the output is no terminal there are only the lines of the rounds.

    Args:
        metric: Which metric to show of each round, where it has it.
        console: Where to show it; by default the standard output.
    """

    def __init__(self, metric: str = "test_acc", console: Console | None = None) -> None:
        super().__init__()
        self.metric = metric
        self.console = console or PlainConsole()
        self._enabled = True
        self._told = 0
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def disable(self) -> None:
        """Show nothing, as Lightning asks for on every process but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show everything again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the line of a fit."""
        history = _history(trainer)
        self._tell(history)
        if not (self._enabled and self.console.is_terminal):
            return
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._progress = Progress(*columns, console=self.console, transient=True)
        self._task = self._progress.add_task(f"round {len(history)}: fit", total=_steps(trainer))
        self._progress.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Show how many steps are done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show that the pool is being scored, which comes next."""
        if self._progress is not None:
            self._progress.update(self._task, description=f"round {len(_history(trainer))}: score")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Clear the line of the fit."""
        self._clear()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Clear the line of the fit."""
        self._clear()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave a line for the rounds that are done."""
        self._tell(_history(trainer))

    def _clear(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _tell(self, history: History) -> None:
        for round in history[self._told :]:
            if self._enabled:
                self.console.print(line_of_round(round, self.metric))
        self._told = len(history)


def line_of_round(round: Round, metric: str) -> str:
    """Say in a line what a round trained on, reached and queried."""
    value = f", {printable(metric)} {round.metrics[metric]:.4f}" if metric in round.metrics else ""
    asked = f", asked for {len(round.indices)}" if round.indices else ""
    return f"round {round.number}: {round.spent} labels{value}{asked} in {sum(round.seconds.values()):.1f} s"


def _history(trainer: pl.Trainer) -> History:
    active = (callback.history for callback in trainer.callbacks if isinstance(callback, ActiveLearning))  # type: ignore[attr-defined]
    return next(active, History())


def _steps(trainer: pl.Trainer) -> float | None:
    steps = trainer.estimated_stepping_batches
    return steps if steps < float("inf") else None
