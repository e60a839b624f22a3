"""What a program prints: what Lightning says of each fit is said once, however many rounds there are."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import NAMESPACE, pl
from tests.support.tasks import LitMLP, points, trainer


class LitOneCycle(LitMLP):
    def configure_optimizers(self) -> object:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.mark.parametrize("as_a_job_of_slurm", [False, True])
def test_no_line_comes_again_in_each_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, as_a_job_of_slurm: bool
) -> None:
    if as_a_job_of_slurm:
        job = {"JOB_ID": "7", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
        for name, value in job.items():
            monkeypatch.setenv(f"SLURM_{name}", value)
    caplog.set_level("INFO")
    caplog.set_level("INFO", logger=NAMESPACE)
    active = ActiveLearning("bald", query_size=8, max_rounds=4)
    data = ActiveDataModule(points(60), val=points(8), test=points(8), initial_size=8, batch_size=8)
    logger = pl.loggers.CSVLogger(tmp_path)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        shows: dict[str, Any] = {"logger": logger, "enable_model_summary": True, "num_sanity_val_steps": 2}
        fitting = trainer(tmp_path, callbacks=[active], **shows)
        fitting.fit(LitOneCycle(), datamodule=data)
    assert [round.labelled for round in active.history] == [8, 16, 24, 32]
    said = Counter(record.getMessage() for record in caplog.records if record.name.startswith(("lightning", "pytorch")))
    assert said["SLURM auto-requeueing enabled. Setting signal handlers."] == as_a_job_of_slurm
    assert said["Loading `train_dataloader` to estimate number of stepping batches."] == 1
    assert [line for line, times in said.items() if times > 1] == []
    advice = [str(warning.message) for warning in shown if "number of training batches" in str(warning.message)]
    assert len(advice) == 1
    assert len({str(warning.message) for warning in shown}) == len(shown)
