"""Processes that run the cells of a sweep on the same machine, and the GPUs they use."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


def number_by_joblib() -> int | None:
    """Return the number of this process among joblib's workers, counted from 1, or None if it is not a worker."""
    name = re.fullmatch(r"LokyProcess-(\d+)", multiprocessing.current_process().name)
    return None if name is None else int(name[1])


def start_processes_as_usual() -> None:
    """Restore the default start method of multiprocessing in a joblib worker, for the workers of DataLoaders.

    joblib sets its own start method there, which fails for other kinds of `Process`.
    """
    multiprocessing.set_start_method(None, force=True)


@cache
def end_with(process: int) -> None:
    """End this process as soon as the process that started it ends, also by a kill.

    It would otherwise keep the journal of its folder locked when the restarted sweep reaches the same cell. It ends
    without cleaning up, which a run's folder survives at any moment.
    """

    def watch() -> None:
        while os.getppid() == process:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name="end with the sweep", daemon=True).start()


def run_apart(folder: Path) -> None:
    """Run a cell of several ranks in a process of its own.

    Lightning starts the other ranks with the command line of the first one, which must be that of this cell alone. It
    kills the first rank if another dies, and leaves variables for one fit in the environment.

    Raises:
        RuntimeError: If the process fails.
    """
    # The process finds the same modules as this one, in the same order.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    with subprocess.Popen([sys.executable, "-m", "lightning_al.cli", *_arguments(folder)], env=environment) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise RuntimeError(f"The process of this cell ended with exit code {code}. Find its error in the output.")


def _arguments(folder: Path) -> list[str]:
    """Return the command-line arguments that run this cell alone."""
    config = HydraConfig.get()
    directories = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
    overrides: Any = OmegaConf.to_container(config.overrides, resolve=False)
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [
        *(f"--config-dir={path}" for path in directories),
        f"--config-name={config.job.config_name}",
        *overrides["task"],
        *(override for override in overrides["hydra"] if not override.startswith("hydra.mode=")),
        f"hydra.run.dir='{quoted}'",
        "hydra.output_subdir=null",
        f"hydra.job.num={config.job.num}",
        f"+hydra.callbacks.comparison.process={os.getpid()}",
    ]


def share_of_gpus(gpus: Sequence[str], worker: int, size: int) -> list[str]:
    """Return the GPUs for a worker, so that workers share GPUs only if there are too few.

    Args:
        gpus: All GPUs of the machine.
        worker: Number of the worker, counted from 1.
        size: The number of GPUs it needs.

    >>> [share_of_gpus(["0", "1", "2", "3"], worker, 1) for worker in (1, 2, 3, 4, 5)]
    [['0'], ['1'], ['2'], ['3'], ['0']]
    >>> [share_of_gpus(["0", "1", "2", "3"], worker, 2) for worker in (1, 2, 3)]
    [['0', '1'], ['2', '3'], ['0', '1']]
    """
    shares = max(1, len(gpus) // size)
    first = (worker - 1) % shares * size
    return list(gpus[first : first + size])


def take_gpus(config: DictConfig) -> None:
    """Let a joblib worker see only its own GPUs: each cell uses the first ones that it sees."""
    worker, size = number_by_joblib(), config.trainer.get("devices")
    if worker is None or not isinstance(size, int) or size < 1 or config.trainer.get("accelerator") == "cpu":
        return
    gpus = share_of_gpus(_all_gpus(), worker, size)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)


@cache
def _all_gpus() -> list[str]:
    """Return the GPUs that the sweep may use, from before the first cell in this process took its own."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return list(map(str, range(torch.cuda.device_count()))) if visible is None else visible.split(",")
