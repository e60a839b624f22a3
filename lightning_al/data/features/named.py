"""Encoders that are known by a name, and loaded when they are first used."""

from __future__ import annotations

from abc import ABC, abstractmethod

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
