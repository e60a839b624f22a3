"""The one Lightning namespace that this process uses: `pytorch_lightning` or `lightning.pytorch`.

The two are copies whose classes do not know each other. `lightning.pytorch` is used if only that was imported before.
The environment variable ``LIGHTNING_AL_NAMESPACE`` overrides the choice. Every other module imports `pl` from here.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_al.host.lightning_names import IS_OVERRIDDEN

NAMESPACES = ("pytorch_lightning", "lightning.pytorch")


def choose_namespace() -> str:
    chosen = os.environ.get("LIGHTNING_AL_NAMESPACE")
    if chosen:
        if chosen not in NAMESPACES:
            raise ValueError(f"LIGHTNING_AL_NAMESPACE is {chosen!r}. Set it to one of: {', '.join(NAMESPACES)}.")
        return chosen
    only_lightning = "lightning.pytorch" in sys.modules and "pytorch_lightning" not in sys.modules
    return "lightning.pytorch" if only_lightning else "pytorch_lightning"


NAMESPACE = choose_namespace()

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
    from pytorch_lightning.utilities.model_helpers import is_overridden
else:
    pl = import_module(NAMESPACE)
    is_overridden = IS_OVERRIDDEN.of(pl)
    SLURMEnvironment = import_module(f"{NAMESPACE}.plugins.environments").SLURMEnvironment
    rank_zero_info = import_module(f"{NAMESPACE}.utilities.rank_zero").rank_zero_info
    rank_zero_warn = import_module(f"{NAMESPACE}.utilities.rank_zero").rank_zero_warn


def check_namespace(thing: Any, kind: str) -> None:
    """Refuse an object of the other Lightning namespace, whose hooks would never be called.

    Args:
        thing: A Trainer or a LightningDataModule.
        kind: The name of its class in Lightning.

    Raises:
        TypeError: If it is not of this process's namespace. The message says how to choose the other.
    """
    if isinstance(thing, getattr(pl, kind)):
        return
    home = type(thing).__module__.split(".")[0]
    other = "lightning.pytorch" if NAMESPACE == "pytorch_lightning" else "pytorch_lightning"
    raise TypeError(
        f"`lightning_al` works with `{NAMESPACE}.{kind}` in this process, but got {type(thing).__name__} of `{home}`. "
        f"Where it comes from `{other}`, import that before `lightning_al` and import the other nowhere, or set the "
        f"environment variable LIGHTNING_AL_NAMESPACE={other}."
    )


__all__ = [
    "NAMESPACE",
    "SLURMEnvironment",
    "check_namespace",
    "is_overridden",
    "pl",
    "rank_zero_info",
    "rank_zero_warn",
]
