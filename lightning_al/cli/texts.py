"""Settings that are texts: a name that looks like a number is the text of that number."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from omegaconf import DictConfig

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.places import arguments_of, parameters_of
from lightning_al.cli.references import Way, at, put, shown

TEXTS = ("name", "metric")
"""Settings at the top that are texts."""

_KINDS = (str, Optional[str], "str", "str | None", "Optional[str]")  # noqa: UP045, as Lightning writes it


def with_texts(config: DictConfig) -> DictConfig:
    """Return a configuration whose texts at the top are texts, however they were written.

    >>> from omegaconf import OmegaConf
    >>> with_texts(OmegaConf.create({"name": 1.5, "metric": "${name}"}))
    {'name': '1.5', 'metric': '1.5'}
    """
    said = shown(config)
    for name in TEXTS:
        if _is_number(said.get(name)):
            config[name] = str(said[name])
    return config


def put_texts(settings: dict[str, Any], allowed: AllowList) -> None:
    """Make a text of each number in resolved settings that is given for an argument that can only be a text."""
    for name in TEXTS:
        if _is_number(settings.get(name)):
            settings[name] = str(settings[name])
    for way in list(_texts(settings, (), allowed)):
        put(settings, way, str(at(settings, way)))


def _texts(value: Any, way: Way, allowed: AllowList) -> Iterator[Way]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            made = allowed.find(value["_target_"])
            kinds = {name: parameter.annotation for name, parameter in parameters_of(made).items()}
            for place, (name, part) in arguments_of(value, made):
                if _is_number(part) and kinds.get(name, inspect.Parameter.empty) in _KINDS:
                    yield (*way, *place)
        for key, part in value.items():
            yield from _texts(part, (*way, key), allowed)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _texts(part, (*way, number), allowed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
