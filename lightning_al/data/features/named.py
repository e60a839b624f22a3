"""Encoders that are known by a name, and loaded when they are first used."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import nn

from lightning_al.values.errors import said_shortly


class NamedEncoder(ABC):
    """Base class of encoders whose weights are loaded by a name.

    Derived classes are frozen dataclasses, whose fields a run records.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What errors call it, such as ``timm:resnet18``."""

    @abstractmethod
    def make(self) -> nn.Module:
        """Return a module that maps the inputs of a batch to features ``[n, D]``.

        Raises:
            ImportError: If the package is not installed.
            FileNotFoundError: If there is no such model here, and it cannot be downloaded.
        """


SECONDS_TO_CONNECT = 3.0
"""How long a hub of models may take to answer that it is there."""


@contextmanager
def without_retries() -> Iterator[None]:
    """Look for models on this machine alone where their hub is out of reach: its client would retry for a minute."""
    constants = _constants_of_hub()
    if constants is None or constants.HF_HUB_OFFLINE or _is_reached(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _constants_of_hub() -> Any:
    try:
        from huggingface_hub import constants
    except ImportError:
        return None
    return constants


def _is_reached(address: str) -> bool:
    """Return whether a host takes connections. Behind a proxy this is not known, and taken for true."""
    parts = urlsplit(address)
    if getproxies() or parts.hostname is None:
        return True
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname, port), SECONDS_TO_CONNECT).close()
    except OSError:
        return False
    return True


def not_installed(name: str, package: str) -> ImportError:
    """Return the error for a package that is missing."""
    return ImportError(
        f"`ActiveDataModule(features={name!r})` needs {package}, which is not installed. Install it by "
        "`pip install 'lightning_al[features]'`."
    )


def not_found(name: str, error: Exception) -> FileNotFoundError:
    """Return the error for a model that is neither here nor can be downloaded."""
    return FileNotFoundError(
        f"`ActiveDataModule(features={name!r})` found no such model on this machine, and could not download it: "
        f"{said_shortly(error)}. Check the name and the connection, or pass the module itself."
    )
