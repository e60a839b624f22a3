"""Write what this version of the library leaves on disk, for later versions to go on from.

Run once for a release, and commit what it writes: python -m tests.released.make
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from lightning_al import __version__
from lightning_al.host.namespace import pl
from tests.released.task import HERE, fit


class Saving(pl.Callback):
    """Save a checkpoint in the middle of the second round."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fits = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.fits += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.fits == 2 and trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)


def main() -> None:
    folder = HERE / __version__
    if folder.exists():
        raise SystemExit(f"{folder} is there already: what a release wrote does not change.")
    with tempfile.TemporaryDirectory() as scratch:
        fit(Path(scratch), folder / "run", rounds_per_fit=2)
        fit(Path(scratch), None, Saving(folder / "round-1.ckpt"), rounds_per_fit=2)


if __name__ == "__main__":
    main()
