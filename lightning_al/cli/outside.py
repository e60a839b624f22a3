"""Which settings may not come from outside, since the run's files have what they say, or are named by it.

All others are kept out of the files: these have the reference in place of the value.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.places import LISTED_PACKAGES, TO_WRITE, argument_at
from lightning_al.cli.references import Way, at, dotted, is_outer, mapped, shown, values

RECORDED = frozenset(("acquisition", "posterior", "seed", "metric", "mode"))
"""Settings at the top that the journal or the summary has."""

NOT_RECORDED = frozenset(("data", "oracle", "pool_dataset"))
"""Arguments of `active` and `pool` that are objects of which no file has what they were made with."""

_OF_THIS_COMMAND = re.compile(r"\$\{(hydra:(?!job\.env)|now:|lightning_al\.)[^{}]*\}")


def check_none_is_recorded(
    config: DictConfig, settings: DictConfig, known: Any, folder: Path, allow: Sequence[str]
) -> None:
    """Refuse what comes from outside where a file of the run would have it.

    Args:
        config: The configuration as it is stored.
        settings: The same with all references resolved.
        known: What the folder's configuration shows, or None for a new run. What it has already is let be.
        folder: The run's folder.
        allow: What the user allows besides the list.

    Raises:
        ConfigCompositionException: If there is such a setting; the message names the first.
    """
    plain: Any = OmegaConf.to_container(settings)
    allowed = AllowList(allow)
    refused = {}
    for way, reference in values(shown(config)):
        if is_outer(reference) and at(known, way) != reference:
            why = _why(way, plain, allowed) or _in_folder(at(plain, way), folder.absolute())
            refused.update({way: (reference, why)} if why else {})
    if refused:
        raw = OmegaConf.to_container(config, resolve=False)
        way = next((way for way in refused if is_outer(at(raw, way))), next(iter(refused)))
        reference, why = refused[way]
        raise ConfigCompositionException(
            f"lightning-al writes what `{dotted(way)}` says into the files of the run, since it {why}, but it is "
            f'read from outside by {reference}. Give the value itself, as a shell does: {dotted(way)}="$NAME".'
        )


def check_folder(config: DictConfig) -> None:
    """Refuse the name of a folder that is read from outside, before Hydra makes the folder.

    Args:
        config: The configuration with Hydra's part.

    Raises:
        ValueError: If the name of a run's or a sweep's folder, or of Hydra's own files in it, is.
    """
    plain: Any = OmegaConf.to_container(config, resolve=False)
    hydra: Any = plain.pop("hydra")
    own = mapped(plain, lambda _, value: _OF_THIS_COMMAND.sub("_", value) if isinstance(value, str) else value)
    folder = own["folder"]
    with suppress(OmegaConfBaseException):  # what cannot be resolved is said elsewhere
        folder = shown(OmegaConf.create(own))["folder"]
    named = {
        "folder": folder,
        "hydra.run.dir": hydra["run"]["dir"],
        "hydra.sweep.dir": hydra["sweep"]["dir"],
        "hydra.sweep.subdir": hydra["sweep"]["subdir"],
        "hydra.job.name": hydra["job"]["name"],
        "hydra.output_subdir": hydra["output_subdir"],
    }
    for name, value in named.items():
        if is_outer(_OF_THIS_COMMAND.sub("_", str(value))) and "${lightning_al." not in str(value):
            raise ValueError(
                f"`{name}` names a folder or a file, but is read from outside by {value}. Give the value itself, as a "
                f'shell does: {name}="$NAME".'
            )


def _why(way: Way, plain: Any, allowed: AllowList) -> str | None:
    """Return why what a setting says is in the run's files, or None where it is not."""
    if way[-1] == "_target_":
        return "names a class"
    if way[0] in RECORDED or (way[0] in ("active", "pool") and (len(way) < 3 or way[1] not in NOT_RECORDED)):
        return "decides what the run does"
    if way[0] not in ("callbacks", "logger"):
        return None
    made, name = argument_at(plain, way, allowed)
    homes = [base for base in getattr(made, "__mro__", ()) if base.__module__.split(".")[0] in LISTED_PACKAGES]
    if name not in TO_WRITE and any(name in inspect.signature(base).parameters for base in homes):
        return "names what is logged or kept"
    return None


def _in_folder(value: Any, folder: Path) -> str | None:
    text = value.removeprefix("sqlite:///") if isinstance(value, str) else None
    is_in = text is not None and os.path.isabs(text) and Path(os.path.normpath(text)).is_relative_to(folder)
    return "is a place in the run's folder" if is_in else None
