"""The settings by which a run goes on: those in its folder, and of what that may not say, what the command says now."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.lightning_names import in_this_process
from lightning_al.cli.places import FETCHES, Claims
from lightning_al.cli.references import Way, at, dotted, is_outer, is_reference, put, shown, values, written_at


def resolve_stored(stored: DictConfig, composed: DictConfig, folder: Path, allow: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a stored configuration, with all references resolved.

    What it reads from outside itself, and what it names outside the folder, holds where the configuration that is
    composed now says the same in the same place, so that no reference of the folder takes it to another one. What it
    would fetch is left where it is, unless that says so too.

    Raises:
        ConfigCompositionException: If the command has to say something again; the message says how.
        ValueError: If it names what is not allowed.
    """
    now, shown_now = in_this_process(OmegaConf.to_container(composed, resolve=True)), shown(composed)
    unsaid: dict[Way, str] = {}
    settings = in_this_process(shown(stored))
    for way, reference in list(values(settings)):
        if not is_outer(reference):
            continue
        # By whatever chain of references it came to this place, the command has to say it for this place.
        if at(shown_now, way) == reference:
            put(settings, way, at(now, way))
        else:
            unsaid[way] = f"refers to {reference}, which is read only where you say it now"
    if unsaid:
        raise _refused(unsaid, stored, composed, folder)
    allowed = AllowList(allow)
    allowed.check(settings)
    for way, why in list(Claims(folder, allowed).find(settings)):
        if _is_said(way, settings, now):
            continue
        if why == FETCHES:
            put(settings, way, False)
        else:
            unsaid[way] = why
    if unsaid:
        raise _refused(unsaid, stored, composed, folder)
    return settings


def overrides_to_say_again(config: DictConfig, folder: Path, allow: Sequence[str]) -> list[str]:
    """Return the overrides that a command needs to go on with a run, besides its folder, quoted for a shell."""
    ways = [way for way, value in values(shown(config)) if is_outer(value)]
    with suppress(ValueError):  # of a class that is itself read from outside
        claims = Claims(folder, AllowList(allow)).find(in_this_process(shown(config)))
        ways.extend(way for way, why in claims if why != FETCHES)
    return _overrides(ways, config, _of_every_command())


def with_how_to_fetch(said: str, config: DictConfig, settings: DictConfig) -> str:
    """Add to an error how files are fetched that the configuration in a run's folder alone would fetch."""
    is_withheld = OmegaConf.select(config, "data.download") and not OmegaConf.select(settings, "data.download")
    return f"{said} To download them, pass '++data.download=true' again." if is_withheld else said


def _is_said(way: Way, settings: Any, now: Any) -> bool:
    """Return whether the command says the same, or, where something is left out, makes the same without it."""
    there, here = at(settings, way), at(now, way)
    owners = [at(at(plain, way[:-1]), ("_target_",)) for plain in (settings, now)]
    return type(there) is type(here) and there == here and (there is not None or owners[0] == owners[1])


def _refused(
    unsaid: dict[Way, str], stored: DictConfig, composed: DictConfig, folder: Path
) -> ConfigCompositionException:
    said = {dotted(way): why for way, why in _without_copies(unsaid, stored, composed)}
    overrides = " ".join(_overrides(unsaid, stored, composed))
    return ConfigCompositionException(
        f"lightning-al does not take from the folder {folder} what only you may say: "
        + ", ".join(f"`{name}` {why}" for name, why in said.items())
        + f". Where you want it, give it again, or give another value: lightning-al folder={folder} {overrides}"
    )


def _of_every_command() -> DictConfig:
    """Return the configuration that every command begins with, before groups and overrides."""
    found = OmegaConf.create(resources.files("lightning_al.conf").joinpath("config.yaml").read_text())
    assert isinstance(found, DictConfig)
    return found


def _without_copies(unsaid: dict[Way, str], stored: DictConfig, composed: DictConfig) -> list[tuple[Way, str]]:
    """Leave out what the command says by itself where it says the rest, since it has the same reference there."""
    raw, now = (OmegaConf.to_container(config, resolve=False) for config in (stored, composed))
    written: list[tuple[Way, str]] = []
    for way, why in unsaid.items():
        place = written_at(raw, way)
        is_copy = is_reference(at(raw, place)) and at(now, place) == at(raw, place)
        written += [] if is_copy else [(way, why)]
    return written or list(unsaid.items())


def _overrides(ways: Iterable[Way], stored: DictConfig, composed: DictConfig) -> list[str]:
    settings = shown(stored)
    found = {}
    for way, _ in _without_copies(dict.fromkeys(ways, ""), stored, composed):
        # Of a list, Hydra can only set the whole.
        cut = next((place for place, name in enumerate(way) if isinstance(name, int)), len(way))
        found[dotted(way[:cut])] = at(settings, way[:cut])
    return [shlex.quote(f"++{name}={_written(value)}") for name, value in found.items()]


def _written(value: Any) -> str:
    """Write a value as Hydra's command line reads it.

    >>> print(_written(["a b", 1, None, {"c": "${oc.env:D}"}]))
    ["a b",1,null,{c:${oc.env:D}}]
    """
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_written(part)}" for name, part in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    is_word = text.lower() not in ("null", "true", "false", "nan", "inf")
    if not isinstance(value, str) or (is_word and re.fullmatch(r"[A-Za-z/][\w/.-]*|\$\{oc\.env:\w+\}", text)):
        return text
    escaped = re.sub(r'(\\+)(?="|$)', r"\1\1", text).replace('"', '\\"')
    return f'"{escaped}"'
