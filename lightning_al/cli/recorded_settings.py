"""Settings that may not be read from outside, since their values are written into the run's files or name them.

All other settings may be: the files then have the reference instead of the value.
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
from lightning_al.cli.arguments import argument_at
from lightning_al.cli.references import KeyPath, at, dotted, is_outer, mapped, shown, values
from lightning_al.cli.untrusted import LISTED_PACKAGES, TO_WRITE

RECORDED = frozenset(("acquisition", "posterior", "seed", "metric", "mode"))
"""Settings at the top level that are written into the journal or the summary."""

NOT_RECORDED = frozenset(("data", "oracle", "pool_dataset"))
"""Arguments of `active` and `pool` that are objects whose own arguments no file has."""

_OF_THIS_COMMAND = re.compile(r"\$\{(hydra:(?!job\.env)|now:|lightning_al\.)[^{}]*\}")


def check_none_is_recorded(
    config: DictConfig, settings: DictConfig, known: Any, folder: Path, allow: Sequence[str]
) -> None:
    """Check that no setting is read from outside whose value a file of the run would have.

    Args:
        config: The configuration as it is stored.
        settings: The same with all references resolved.
        known: The settings already stored in the folder, which are not checked again, or None for a new run.
        folder: The run's folder.
        allow: What the user allows in addition to the list.

    Raises:
        ConfigCompositionException: If there is such a setting; the message names the first.
    """
    plain: Any = OmegaConf.to_container(settings)
    allowed = AllowList(allow)
    refused = {}
    for key_path, reference in values(shown(config)):
        if is_outer(reference) and at(known, key_path) != reference:
            why = _why(key_path, plain, allowed) or _in_folder(at(plain, key_path), folder.absolute())
            refused.update({key_path: (reference, why)} if why else {})
    if refused:
        raw = OmegaConf.to_container(config, resolve=False)
        key_path = next((key_path for key_path in refused if is_outer(at(raw, key_path))), next(iter(refused)))
        reference, why = refused[key_path]
        raise ConfigCompositionException(
            f"lightning-al writes the value of `{dotted(key_path)}` into the files of the run, since it {why}, but it "
            f"is read from outside by {reference}. Give the value itself, for example by the shell: "
            f'{dotted(key_path)}="$NAME".'
        )


def check_folder(config: DictConfig) -> None:
    """Check that no name of a folder is read from outside, before Hydra makes the folder.

    Args:
        config: The configuration, with Hydra's part.

    Raises:
        ValueError: If the name of a run's or sweep's folder, or of Hydra's files in it, is read from outside.
    """
    plain: Any = OmegaConf.to_container(config, resolve=False)
    hydra: Any = plain.pop("hydra")
    own = mapped(plain, lambda _, value: _OF_THIS_COMMAND.sub("_", value) if isinstance(value, str) else value)
    folder = own["folder"]
    with suppress(OmegaConfBaseException):  # reported elsewhere
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
                f"`{name}` names a folder or a file, but is read from outside by {value}. Give the value itself, for "
                f'example by the shell: {name}="$NAME".'
            )


def _why(key_path: KeyPath, plain: Any, allowed: AllowList) -> str | None:
    """Return why the run's files have the value of a setting, or None if they do not."""
    if key_path[-1] == "_target_":
        return "names a class"
    if key_path[0] in RECORDED or (
        key_path[0] in ("active", "pool") and (len(key_path) < 3 or key_path[1] not in NOT_RECORDED)
    ):
        return "decides what the run does"
    if key_path[0] not in ("callbacks", "logger"):
        return None
    made, name = argument_at(plain, key_path, allowed)
    homes = [base for base in getattr(made, "__mro__", ()) if base.__module__.split(".")[0] in LISTED_PACKAGES]
    if name not in TO_WRITE and any(name in inspect.signature(base).parameters for base in homes):
        return "names what is logged or kept"
    return None


def _in_folder(value: Any, folder: Path) -> str | None:
    text = value.removeprefix("sqlite:///") if isinstance(value, str) else None
    is_in = text is not None and os.path.isabs(text) and Path(os.path.normpath(text)).is_relative_to(folder)
    return "is a place in the run's folder" if is_in else None
