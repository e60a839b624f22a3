"""The settings to resume a run with: the stored ones, and the command's for what may not be stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.namespace import in_this_process
from lightning_al.cli.references import KeyPath, at, dotted, is_outer, is_reference, put, shown, values, written_at
from lightning_al.cli.untrusted import FETCHES, Claims
from lightning_al.run.run_command import run_command, setting


def resolve_stored(stored: DictConfig, composed: DictConfig, folder: Path, allow: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a stored configuration, with all references resolved.

    Outer references and places outside the folder count only if the command's configuration has the same value in the
    same place, so no stored reference can move one elsewhere. Nothing is downloaded unless the command says so too.

    Raises:
        ConfigCompositionException: If the command has to repeat a setting; the message says how.
        ValueError: If the configuration names something that is not allowed.
    """
    now, shown_now = in_this_process(OmegaConf.to_container(composed, resolve=True)), shown(composed)
    unsaid: dict[KeyPath, str] = {}
    settings = in_this_process(shown(stored))
    for key_path, reference in list(values(settings)):
        if not is_outer(reference):
            continue
        # Whatever chain of references led to this place, the command has to name it for this place.
        if at(shown_now, key_path) == reference:
            put(settings, key_path, at(now, key_path))
        else:
            unsaid[key_path] = f"refers to {reference}, which is read only if you repeat it"
    if unsaid:
        raise _refused(unsaid, stored, composed, folder)
    allowed = AllowList(allow)
    allowed.check(settings)
    for key_path, why in list(Claims(folder, allowed).find(settings)):
        if _is_said(key_path, settings, now):
            continue
        if why == FETCHES:
            put(settings, key_path, False)
        else:
            unsaid[key_path] = why
    if unsaid:
        raise _refused(unsaid, stored, composed, folder)
    return settings


def overrides_to_say_again(config: DictConfig, folder: Path, allow: Sequence[str]) -> list[str]:
    """Return the overrides that a command needs to resume a run, besides its folder, quoted for a shell."""
    key_paths = [key_path for key_path, value in values(shown(config)) if is_outer(value)]
    with suppress(ValueError):  # a class that is itself read from outside
        claims = Claims(folder, AllowList(allow)).find(in_this_process(shown(config)))
        key_paths.extend(key_path for key_path, why in claims if why != FETCHES)
    return _overrides(key_paths, config, _of_every_command())


def with_how_to_fetch(said: str, config: DictConfig, settings: DictConfig) -> str:
    """Add to an error how to download files, if only the stored configuration asks for it."""
    is_withheld = OmegaConf.select(config, "data.download") and not OmegaConf.select(settings, "data.download")
    return f"{said} To download them, pass '++data.download=true' again." if is_withheld else said


def _is_said(key_path: KeyPath, settings: Any, now: Any) -> bool:
    """Return whether the command sets the same value, or makes the same class without it."""
    there, here = at(settings, key_path), at(now, key_path)
    owners = [at(at(plain, key_path[:-1]), ("_target_",)) for plain in (settings, now)]
    return type(there) is type(here) and there == here and (there is not None or owners[0] == owners[1])


def _refused(
    unsaid: dict[KeyPath, str], stored: DictConfig, composed: DictConfig, folder: Path
) -> ConfigCompositionException:
    said = {dotted(key_path): why for key_path, why in _without_copies(unsaid, stored, composed)}
    command = run_command(folder, *_overrides(unsaid, stored, composed))
    return ConfigCompositionException(
        f"lightning-al does not take from the folder {folder} settings that only you may give: "
        + ", ".join(f"`{name}` {why}" for name, why in said.items())
        + f". Give them again, or give other values: {command}"
    )


def _of_every_command() -> DictConfig:
    """Return the configuration that every command starts from, before groups and overrides."""
    found = OmegaConf.create(resources.files("lightning_al.conf").joinpath("config.yaml").read_text())
    assert isinstance(found, DictConfig)
    return found


def _without_copies(unsaid: dict[KeyPath, str], stored: DictConfig, composed: DictConfig) -> list[tuple[KeyPath, str]]:
    """Leave out settings that follow from the others by the same reference in the command's configuration."""
    raw, now = (OmegaConf.to_container(config, resolve=False) for config in (stored, composed))
    written: list[tuple[KeyPath, str]] = []
    for key_path, why in unsaid.items():
        place = written_at(raw, key_path)
        is_copy = is_reference(at(raw, place)) and at(now, place) == at(raw, place)
        written += [] if is_copy else [(key_path, why)]
    return written or list(unsaid.items())


def _overrides(key_paths: Iterable[KeyPath], stored: DictConfig, composed: DictConfig) -> list[str]:
    settings = shown(stored)
    found = {}
    for key_path, _ in _without_copies(dict.fromkeys(key_paths, ""), stored, composed):
        # Hydra can only set a list as a whole.
        cut = next((place for place, name in enumerate(key_path) if isinstance(name, int)), len(key_path))
        found[dotted(key_path[:cut])] = at(settings, key_path[:cut])
    return [setting(f"++{name}", value) for name, value in found.items()]
