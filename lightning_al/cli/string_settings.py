"""Settings that are strings: a name that looks like a number becomes the string of that number."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from omegaconf import DictConfig

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.arguments import arguments_of, parameters_of
from lightning_al.cli.references import KeyPath, at, put, shown

TEXTS = ("name", "metric")
"""Settings at the top level that are strings."""

_KINDS = (str, Optional[str], "str", "str | None", "Optional[str]")  # noqa: UP045, as Lightning writes it


def with_strings(config: DictConfig) -> DictConfig:
    """Return a configuration with strings for the settings in `TEXTS`, however they were written.

    >>> from omegaconf import OmegaConf
    >>> with_strings(OmegaConf.create({"name": 1.5, "metric": "${name}"}))
    {'name': '1.5', 'metric': '1.5'}
    """
    said = shown(config)
    for name in TEXTS:
        if _is_number(said.get(name)):
            config[name] = str(said[name])
    return config


def put_strings(settings: dict[str, Any], allowed: AllowList) -> None:
    """Convert each number in resolved settings that is passed to an argument annotated as a string."""
    for name in TEXTS:
        if _is_number(settings.get(name)):
            settings[name] = str(settings[name])
    for key_path in list(_texts(settings, (), allowed)):
        put(settings, key_path, str(at(settings, key_path)))


def _texts(value: Any, key_path: KeyPath, allowed: AllowList) -> Iterator[KeyPath]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            made = allowed.find(value["_target_"])
            kinds = {name: parameter.annotation for name, parameter in parameters_of(made).items()}
            for place, (name, part) in arguments_of(value, made):
                if _is_number(part) and kinds.get(name, inspect.Parameter.empty) in _KINDS:
                    yield (*key_path, *place)
        for key, part in value.items():
            yield from _texts(part, (*key_path, key), allowed)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _texts(part, (*key_path, number), allowed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
