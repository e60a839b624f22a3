"""Run by test_members.py in a process of its own: runs of several fits a round that die at a place and are resumed.

Usage: python -m tests.support.ensemble_runs OUT JSON, where JSON lists the runs, each by its `name`, the `place` and
the `fit` (counted from 0 in a process) at which it dies, the `signal` by which, and arguments of `ActiveLearning`. Each
runs in a fork of this process, so that torch and Lightning are imported once; a line of JSON a run says how it ended,
first when it died and then when it was resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lightning_al import ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.oracle import Oracle
from lightning_al.oracle.revealed import Revealed
from lightning_al.run.journal import Journal
from tests.doors.test_several_fits import Ensemble, active_data
from tests.support.tasks import LitMLP, trainer


class Dying(pl.Callback):
    """Die by a signal at a place in a fit, and count the fits that begin."""

    def __init__(self, place: str | None, fit: int, number: int) -> None:
        self.place = place
        self.fit = fit
        self.number = number
        self.fits = 0
        if place in ("before row", "after row"):
            write = Journal.append_member

            def append_member(journal: Journal, *arguments: Any) -> None:
                self.at("before row", self.fits - 1)
                write(journal, *arguments)
                self.at("after row", self.fits - 1)

            Journal.append_member = append_member  # type: ignore[method-assign]

    def at(self, place: str, fit: int) -> None:
        if (place, fit) == (self.place, self.fit):
            os.kill(os.getpid(), self.number)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.at("between", self.fits)
        self.fits += 1

    def on_train_batch_end(self, *_: Any) -> None:
        self.at("fit", self.fits - 1)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.at("test", self.fits - 1)


class DyingOracle(Oracle):
    """Reveal the labels, and die before."""

    def __init__(self, dying: Dying) -> None:
        self.dying = dying

    def __repr__(self) -> str:
        return "DyingOracle()"

    def label(self, indices: Any) -> Any:
        self.dying.at("label", self.dying.fits - 1)
        return {index: index % 4 for index in Revealed().label(indices)}


def run(folder: Path, place: str | None, fit: int, number: int, arguments: dict[str, Any]) -> None:
    """Run two rounds of three fits, and write down what came of it."""
    dying = Dying(place, fit, number)
    torch.manual_seed(7)
    module, data = LitMLP(), active_data(num_workers=0)
    active = ActiveLearning(
        "bald",
        query_size=4,
        max_rounds=2,
        posterior=Ensemble(),
        oracle=DyingOracle(dying),
        folder=folder / "run",
        seed=5,
        **arguments,
    )
    kept = pl.callbacks.ModelCheckpoint(folder / "run" / "kept", monitor="val_loss")
    fits = trainer(folder, callbacks=[active, dying, kept], max_epochs=1, enable_checkpointing=True)
    fits.fit(module, datamodule=data)
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.numpy().tobytes())
    found = {
        "rounds": [{**round.to_dict(), "seconds": None, "peak_bytes": None} for round in active.history],
        "labels": data.pool.state_dict(),
        "weights": digest.hexdigest(),
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
        "fits": dying.fits,
        "step": fits.fit_loop.epoch_loop._batches_that_stepped,
    }
    (folder / "found.json").write_text(json.dumps(found))


def forked(act: Callable[[], None], log: Path) -> int:
    """Do something in a fork of this process, and return its exit code, or less than 0 for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            act()
            status = 0
        except SystemExit as error:
            status = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(out: Path, runs: list[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    for asked in runs:
        folder = out / asked.pop("name")
        folder.mkdir(parents=True)
        place, fit = asked.pop("place", None), asked.pop("fit", 0)
        number = signal.Signals[asked.pop("signal", "SIGKILL")]
        log = folder.with_suffix(".log")
        died = None if place is None else forked(lambda: run(folder, place, fit, number, asked), log)  # noqa: B023
        ended = forked(lambda: run(folder, None, 0, number, asked), log)  # noqa: B023
        found = json.loads((folder / "found.json").read_text()) if ended == 0 else {"said": log.read_text()[-3000:]}
        print(json.dumps({"name": folder.name, "died": died, "ended": ended, **found}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
