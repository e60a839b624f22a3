"""A run's folder from somebody else: its configuration, the files that would run, and a watch on what is done."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

import lightning_al.cli  # noqa: F401, whose resolvers the configuration names
from lightning_al.cli.references import write_hydra_values

STARTS_OR_SENDS = ("os.exec", "os.posix_spawn", "os.system", "socket.connect", "socket.getaddrinfo", "subprocess.Popen")
CHANGES_FILES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree")

PAYLOAD = "from pathlib import Path\nPath({trace!r}).touch()\nclass Payload:\n    pass\n"


class Touch:
    """What leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def make_payload(folder: Path, trace: Path) -> None:
    """Put a module and pickles into a folder that leave a trace when they are imported or unpickled."""
    (folder / "payload.py").write_text(PAYLOAD.format(trace=str(trace)))
    for name in ("payload.pt", "payload.pkl", "payload.ckpt", "hpc_ckpt_1.ckpt", "last.ckpt", "on_exception.ckpt"):
        torch.save({"state_dict": Touch(trace)}, folder / name)


def composed(folder: Path, *overrides: str) -> DictConfig:
    """The configuration that a command in this process would compose, with Hydra's part where Hydra looks for it."""
    known, of_hydra = _composed(overrides)
    config = copy.deepcopy(known)
    with open_dict(config), read_write(of_hydra.hydra), open_dict(of_hydra):
        config.folder = of_hydra.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(of_hydra)
        write_hydra_values(config)
    return config


@cache
def _composed(overrides: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
    """Compose a configuration, and return it without Hydra's part, which is large, and that part."""
    GlobalHydra.instance().clear()
    with initialize_config_module(version_base="1.3", config_module="lightning_al.conf"):
        config = compose("config", [*overrides], return_hydra_config=True)
    of_hydra = OmegaConf.masked_copy(config, "hydra")
    with open_dict(config):
        del config["hydra"]
    return config, of_hydra


class Watch:
    """What was done, by the events that Python audits, that the files in a folder have no right to."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.seen: list[str] = []
        self.is_on = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        first = arguments[0] if arguments else ""
        is_wrong = {
            "import": "payload" in str(arguments[:2]),
            "pickle.find_class": "payload" in str(arguments),
            "compile": "payload" in str(first),
            "exec": "payload" in str(getattr(first, "co_filename", first)),
            "open": event == "open" and self._is_write(arguments) and self._is_outside(first),
            **dict.fromkeys(STARTS_OR_SENDS, True),
            **dict.fromkeys(CHANGES_FILES, event in CHANGES_FILES and self._is_outside(first)),
        }
        if is_wrong.get(event):
            self.seen.append(f"{event} {arguments[:2]}")

    @staticmethod
    def _is_write(arguments: tuple[Any, ...]) -> bool:
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    def _is_outside(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        name = os.path.realpath(os.fsdecode(path))
        return not name.startswith((self.folder, "/dev/")) and "__pycache__" not in name

    @contextmanager
    def on(self) -> Iterator[list[str]]:
        self.seen, self.is_on = [], True
        try:
            yield self.seen
        finally:
            self.is_on = False


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Let modules of a folder be found, as `PYTHONPATH=.` does."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("payload", None)
