"""Run by test_ranks.py in processes of its own: runs on one or several ranks, what each rank found going to a file.

Usage: python -m tests.support.ranks OUT RANKS JSON, where JSON lists the runs, each by arguments of `ActiveLearning`
and `lr`, `epochs`, `fail`, `die`, `precision`, `pool_batch_size`, `keep_chunks`, `timeout`, `fast_dev_run`,
`slow_oracle` (in seconds), `at_a_time` (how many questions are answered in one call) and `own_folders`, which lets each
rank choose a folder for itself; `tries` says how often the program calls again after an error. The posterior
`ensemble` takes three fits.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from lightning_al import ActiveDataModule, ActiveLearning, Answer
from lightning_al.acquisition import BALD, base
from lightning_al.host import round_checkpoints
from lightning_al.host.namespace import pl
from lightning_al.oracle import Revealed
from lightning_al.posterior import MCDropout
from lightning_al.prediction import scoring
from lightning_al.rounds import best_weights, call, log, querying, starts
from lightning_al.run.history import History
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Label
from tests.doors.test_several_fits import Ensemble
from tests.support.samples import predict_pool
from tests.support.tasks import LitMLP, points


class Failing(pl.Callback):
    """Raise on every rank at the start of a fit."""

    def __init__(self, fit: int) -> None:
        self.fit = fit
        self.fits = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.fits += 1
        if self.fits == self.fit:
            raise RuntimeError("boom")


PLACES: dict[str, tuple[Any, str]] = {
    "fit": (LitMLP, "training_step"),
    "score": (scoring, "to_device"),
    "gather": (scoring, "gather"),
    "select": (BALD, "select"),
    "label": (call, "answer"),
    "answer": (Revealed, "label"),
    "record": (History, "append"),
}
"""Where a process may die, by the function that it is about to call; only the first rank asks for an answer."""

ALONE: dict[str, tuple[Any, str]] = {
    "answer": (Revealed, "label"),
    "weights": (Journal, "save_weights"),
    "journal": (Journal, "append"),
    "loggers": (log, "log_over_labels"),
    "selected": (BALD, "select"),
    "claim": (round_checkpoints, "make_folder"),
    "remove": (round_checkpoints, "are_whole"),
    "round": (ActiveDataModule, "class_counts"),
    "name": (round_checkpoints, "folder_of"),
    "dry pass": (querying, "dry_pass"),
    "between chunks": (base, "checked_log_probs"),
    "start of the round": (starts, "put_weights"),
    "best weights": (best_weights, "load_best"),
}
"""What the first rank does alone, and what each does by itself: `selected` dies when it has been called."""


class Dying(pl.Callback):
    """Die on one rank at a place in a round, by default the second, and note the time."""

    def __init__(self, active: ActiveLearning, out: Path, *, rank: int, place: str, how: str, round: int = 1) -> None:
        self.active = active
        self.out = out
        self.rank = rank
        self.place = place
        self.how = how
        self.round = round
        self.dead = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_rank == self.rank and self.active.round == 0:
            owner, name = {**PLACES, **ALONE}[self.place]
            setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, function: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            dies = self.active.round == self.round and not self.dead
            if self.place == "selected":
                found = function(*args, **kwargs)
            if dies:
                self._die()
            return found if self.place == "selected" else function(*args, **kwargs)

        return watched

    def _die(self) -> None:
        self.dead = True
        (self.out / "died").write_text(str(time.time()))
        if self.how == "exception":
            raise RuntimeError("boom")
        if self.how == "odd exception":
            raise OddError("boom", print)
        os.kill(os.getpid(), signal.Signals[self.how])


class OddError(Exception):
    """An error that no other process can be sent."""

    def __init__(self, reason: str, other: Any) -> None:
        super().__init__(reason)


class Slow(Revealed):
    """Take some seconds to answer, on the first query."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def label(self, indices: Sequence[int]) -> Mapping[int, Label]:
        time.sleep(self.seconds)
        self.seconds = 0
        return super().label(indices)


def some_of_the(labels: list[int], most: int) -> Any:
    """Return an oracle that answers some questions at a time."""
    return lambda query: {index: Answer(labels[index], seconds=index / 7, who="anna") for index in query[:most]}


class Scoring(pl.Callback):
    """Pass over the pool after the first fit, and keep each chunk."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.chunks:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            chunks = predict_pool(trainer, pl_module, data, posterior=MCDropout(5), seed=3)
            self.chunks = [chunk.tolist() for chunk in chunks]


def run(
    out: Path,
    ranks: int,
    *,
    lr: float = 0.02,
    epochs: int = 2,
    fail: int = 0,
    die: dict[str, Any] | None = None,
    precision: Any = "32-true",
    pool_batch_size: int | None = None,
    keep_chunks: bool = False,
    timeout: float | None = None,
    slow_oracle: float | None = None,
    own_folders: bool = False,
    at_a_time: int | None = None,
    fast_dev_run: bool = False,
    **arguments: Any,
) -> tuple[int, dict[str, Any]]:
    """Run active learning, and return this process's rank and what it found."""
    torch.manual_seed(7)
    module, chunks = LitMLP(lr=lr), Scoring()
    data = ActiveDataModule(
        points(61),
        initial_size=8,
        val=points(20, seed=1),
        test=points(20, seed=2),
        batch_size=8,
        pool_batch_size=pool_batch_size,
        num_workers=0,
    )
    out.mkdir(parents=True, exist_ok=True)
    if own_folders:
        arguments["folder"] += os.environ.get("LOCAL_RANK", "0")
    if slow_oracle is not None:
        arguments["oracle"] = Slow(slow_oracle)
    if at_a_time is not None:
        arguments["oracle"] = some_of_the(points(61).tensors[1].tolist(), at_a_time)
    if arguments.get("posterior") == "ensemble":
        arguments["posterior"] = Ensemble()
    active = ActiveLearning(**{"query_size": 5, "budget": 23, "seed": 1, **arguments})
    strategy: Any = "auto" if ranks == 1 else "ddp"
    if timeout is not None:
        strategy = pl.strategies.DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=timeout))
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=strategy,
        precision=precision,
        max_epochs=epochs,
        fast_dev_run=fast_dev_run,
        callbacks=[
            active,
            pl.callbacks.EarlyStopping("val_loss", patience=5),
            pl.callbacks.ModelCheckpoint(dirpath=out / "kept", monitor="val_loss"),
            Failing(fail),
            *([] if die is None else [Dying(active, out, **die)]),
            *([chunks] if keep_chunks else []),
        ],
        logger=pl.loggers.CSVLogger(out),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, datamodule=data)
    paused = []
    while active.pending is not None:
        paused.append((active.pending.round, list(active.pending), active.pending.probs))
        trainer.fit(module, datamodule=data)
    found = {
        "paused": paused,
        "rounds": [{**round.to_dict(), "seconds": None, "peak_bytes": None} for round in active.history],
        "pool": data.pool.state_dict(),
        "weights": {name: value.tolist() for name, value in module.state_dict().items()},
        "done": active.done,
        "chunks": chunks.chunks,
        "fits": drawn_from(active.posterior),
    }
    return trainer.global_rank, found


def drawn_from(posterior: Any) -> list[Any]:
    """Return the seeds of the fits that an ensemble was given, and of their weights those of the last layer's bias."""
    drawn = getattr(posterior, "drawn", [])
    return [[(fit.seed, fit.weights["net.3.bias"].tolist()) for fit in fits] for fits in drawn]


def main(out: Path, ranks: int, runs: list[dict[str, Any]]) -> None:
    found = []
    for number, arguments in enumerate(map(dict, runs)):
        result: dict[str, Any] = {"errors": []}
        for attempt in range(arguments.pop("tries", 1)):
            try:
                dies = {} if attempt == 0 else {"die": None}
                rank, ended = run(out / f"run-{number}", ranks, **{**arguments, **dies})
                result.update(ended)
                break
            except Exception as error:
                if "die" not in arguments or "tries" not in runs[number]:
                    raise
                result["errors"].append([type(error).__name__, str(error)])
        found.append(result)
    (out / f"rank-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
