"""Processes of one run that `torchrun` or `srun` started together: all use the same folder.

Each of them runs the whole program. Processes that Lightning starts are told the folder by the first one instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_al.cli.command_folder import break_hydras_links, check_before_hydra, check_sweep_folder
from lightning_al.cli.composition import composition
from lightning_al.cli.job import typed
from lightning_al.cli.one_line_errors import MOST
from lightning_al.cli.recorded_settings import check_folder
from lightning_al.run.folder_path import folder_path, make_folder
from lightning_al.run.printable import printable

RANKS = ("SLURM_PROCID", "JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
SIZES = ("WORLD_SIZE", "JSM_NAMESPACE_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


def started_by(config: DictConfig) -> str | None:
    """Return what started this process together with others that train with it, or None if it trains alone.

    Processes that each train on one device are separate runs, however they were started.

    Args:
        config: The configuration of the run, with or without Hydra's part.
    """
    trainer, environment = config.trainer, os.environ
    if _is_one(trainer.get("devices", "auto")) and trainer.get("num_nodes", 1) == 1:
        return None
    if "TORCHELASTIC_RUN_ID" in environment:
        return "torchrun" if _number("WORLD_SIZE") > 1 else None
    # Lightning tells SLURM jobs from interactive shells in the same way.
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return "srun" if _number("SLURM_NTASKS") > 1 else None
    return "another launcher" if trainer.get("num_nodes", 1) > 1 or max(map(_number, SIZES)) > 1 else None


def is_first_rank(config: DictConfig) -> bool:
    """Return whether this process has rank 0 among those that train together."""
    trainer = config.trainer
    if _is_one(trainer.get("devices", "auto")) and trainer.get("num_nodes", 1) == 1:
        return True
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    if "LOCAL_RANK" in os.environ:
        return os.environ["LOCAL_RANK"] == "0" and os.environ.get("NODE_RANK", "0") == "0"
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def shared_folder(own: str, *, _root_: DictConfig) -> str:
    """Return the folder of a run, the same for all processes that train together if they can agree on it.

    Args:
        own: The folder that this process would choose alone.
    """
    own, launcher, environment = os.path.expanduser(own), started_by(_root_), os.environ
    if launcher is None or not _can_agree(launcher):
        return own
    if launcher == "torchrun":
        return _agreed(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), own)
    if _is_given(_root_):
        return own
    # A job that SLURM requeues keeps its id, and so resumes.
    step = environment.get("SLURM_STEP_ID")
    return f"outputs/slurm/{environment['SLURM_JOB_ID']}" + ("" if step is None else f"-{step}")


def on_first_rank(name: str, *, _root_: DictConfig) -> str | None:
    """Return a name on rank 0 and None on the others, for files that only rank 0 writes."""
    return name if is_first_rank(_root_) else None


class CheckExternalLaunch(Callback):
    """Refuse what several processes cannot do together, before a folder is made."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a run whose processes would each choose another folder."""
        composition.end()
        _check_name(config)
        launcher = started_by(config)
        if launcher is not None and not _can_agree(launcher) and not _is_given(config):
            _refuse(
                f"lightning-al was started by {launcher} in several processes, which cannot agree on a folder. Give "
                "all of them the same one by `folder=`."
            )
        with _refused_in_a_line():
            check_folder(config)
            _check(check_before_hydra, config, folder_path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a sweep, which each of the processes would run."""
        composition.end()
        _check_name(config)
        launcher = started_by(config)
        if launcher is not None:
            _refuse(
                f"lightning-al was started by {launcher} in several processes, each of which would run the whole "
                "sweep. Start the sweep once, without it: cells start the processes of `trainer.devices=2 "
                "trainer.strategy=ddp` themselves, under SLURM by `hydra/launcher=submitit_slurm`."
            )
        with _refused_in_a_line():
            check_folder(config)
            _check(check_sweep_folder, config, folder_path(config.hydra.sweep.dir))


def _check_name(config: DictConfig) -> None:
    """Refuse an invalid `folder`, before a resolver uses it."""
    with _refused_in_a_line():
        if not OmegaConf.is_missing(config, "folder"):
            folder_path(config.folder)


def _check(check: Callable[[DictConfig, Path], None], config: DictConfig, folder: Path) -> None:
    check(config, folder)
    make_folder(folder)
    if is_first_rank(config):
        break_hydras_links(folder, config)


@contextmanager
def _refused_in_a_line() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, CompactHydraException, OmegaConfBaseException) as error:
        _refuse(f"lightning-al: {_line(error)}")


def _line(error: Exception) -> str:
    return printable(" ".join(str(error).split()), most=MOST)


def _refuse(said: str) -> NoReturn:
    # Hydra turns a callback's error into a warning and continues.
    sys.stderr.write(f"{said}\n")
    raise SystemExit(1)


def _can_agree(launcher: str) -> bool:
    """Return whether processes that were started together can agree on a folder."""
    if launcher == "torchrun":
        return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return launcher == "srun" and "SLURM_JOB_ID" in os.environ


def _is_given(config: DictConfig) -> bool:
    """Return whether the command line names the folder, as it does in processes that Lightning starts."""
    said = typed(config, "hydra")
    return not OmegaConf.is_missing(config, "folder") or any(line.startswith("hydra.run.dir=") for line in said)


@cache
def _agreed(host: str, port: int, own: str) -> str:
    """Return the folder that the first process left in torchrun's store, which starts before the processes do."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # as torch documents it

    store = TCPStore(host, port, is_master=False, timeout=timedelta(minutes=5))
    return store.compare_set("lightning_al: folder of the run", "", own).decode()


def _is_one(devices: Any) -> bool:
    return len(devices) == 1 if isinstance(devices, list | ListConfig) else str(devices) == "1"


def _number(name: str) -> int:
    found = os.environ.get(name, "")
    return int(found) if found.isdecimal() else 1
