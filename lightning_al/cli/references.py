"""References in a configuration: which are to its own settings, and which read what is outside of it.

A reference to what is outside, such as ``${oc.env:NAME}``, is read for the configuration that is composed now alone. It
is stored, shown and compared as the reference that it is, never as the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from secrets import token_hex
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

Way = tuple[str | int, ...]

INNER = re.compile(
    r"""\$\{(
        [^${}:]*                                             # another setting
        | \s*oc\.(select|dict\.keys|dict\.values)\s*:[^${}]* # other settings
        | \s*now:[^${}]*
        | hydra:runtime\.output_dir                          # the run's folder, wherever it lies
    )\}""",
    re.VERBOSE,
)
"""A reference to other settings, the time or the run's folder, in which there is no further one."""

_OF_HYDRA = re.compile(r"\$\{hydra:((?:runtime|job)\.[\w.]+)\}")


def is_outer(value: Any) -> bool:
    """Return whether a value refers to anything but other settings, the run's folder and the time.

    >>> is_outer("${data.root}/images"), is_outer("${oc.env:HOME}/images"), is_outer("${oc.select:${oc.env:X}}")
    (False, True, True)
    """
    if not isinstance(value, str):
        return False
    left = INNER.sub("_", value)
    while left != value:
        left, value = INNER.sub("_", left), left
    return "${" in left


def is_reference(value: Any) -> bool:
    """Return whether a value refers to other settings alone.

    >>> is_reference("${data}"), is_reference("data"), is_reference("${oc.env:HOME}")
    (True, False, False)
    """
    return isinstance(value, str) and "${" in value and not is_outer(value)


def settle(config: DictConfig) -> None:
    """Write what Hydra says of this command into a configuration, since another command says something else.

    What a job sets in the environment stays a reference, as does the run's folder, which may be moved.
    """

    def said(found: re.Match[str]) -> str:
        name = str(found[1])
        if name == "runtime.output_dir" or name.startswith("job.env_") or not HydraConfig.initialized():
            return found[0]
        value = OmegaConf.select(OmegaConf.create({"hydra": HydraConfig.get()}), f"hydra.{name}")
        return found[0] if value is None or OmegaConf.is_config(value) else str(value)

    for way, value in values(OmegaConf.to_container(config, resolve=False)):
        settled = _OF_HYDRA.sub(said, value) if isinstance(value, str) else value
        if settled != value:
            put(config, way, settled)


def shown(config: DictConfig) -> dict[str, Any]:
    """Return the settings as they may be stored and shown: references to the outside as they are, all others resolved.

    >>> shown(OmegaConf.create({"x": "${oc.env:SECRET}", "y": "at ${x}", "z": 1, "w": "${z}"}))
    {'x': '${oc.env:SECRET}', 'y': 'at ${oc.env:SECRET}', 'z': 1, 'w': 1}
    """
    found: list[str] = []
    # No text of the configuration can stand for a reference: it does not know by what one is masked this time.
    secret = token_hex(16)
    masked_value = re.compile(f"\ue000{secret}([0-9]+)\ue001")

    def mask(way: Way, value: Any) -> Any:
        if not is_outer(value):
            return value
        found.append(value)
        return f"\ue000{secret}{len(found) - 1}\ue001"

    def unmask(way: Way, value: Any) -> Any:
        return masked_value.sub(lambda part: found[int(part[1])], value) if isinstance(value, str) else value

    masked = OmegaConf.create(mapped(OmegaConf.to_container(config, resolve=False), mask))
    return dict(mapped(OmegaConf.to_container(masked, resolve=True), unmask))


def values(plain: Any, way: Way = ()) -> Iterator[tuple[Way, Any]]:
    """Yield each value of plain data that is no container with the way to it.

    >>> list(values({"a": [1, {"b": 2}]}))
    [(('a', 0), 1), (('a', 1, 'b'), 2)]
    """
    if isinstance(plain, Mapping):
        for name, part in plain.items():
            yield from values(part, (*way, name))
    elif isinstance(plain, list | tuple):
        for place, part in enumerate(plain):
            yield from values(part, (*way, place))
    else:
        yield way, plain


def at(plain: Any, way: Way) -> Any:
    """Return what lies at the end of a way into plain data, or None where nothing does."""
    for name in way:
        try:
            plain = plain[name]
        except (KeyError, IndexError, TypeError):
            return None
    return plain


def put(plain: Any, way: Way, value: Any) -> None:
    """Put a value to the end of a way into plain data."""
    at(plain, way[:-1])[way[-1]] = value


def written_at(raw: Any, way: Way) -> Way:
    """Return where a value is written: where a part of the configuration refers to another one, that is the reference.

    >>> written_at({"a": {"b": 1}, "c": "${a}"}, ("c", "b"))
    ('c',)
    """
    return next((way[:length] for length in range(1, len(way)) if isinstance(at(raw, way[:length]), str)), way)


def mapped(plain: Any, function: Callable[[Way, Any], Any], way: Way = ()) -> Any:
    """Return plain data with a function of the way to it and of itself for each value that is no container."""
    if isinstance(plain, Mapping):
        return {name: mapped(part, function, (*way, name)) for name, part in plain.items()}
    if isinstance(plain, list | tuple):
        return [mapped(part, function, (*way, place)) for place, part in enumerate(plain)]
    return function(way, plain)


def dotted(way: Way) -> str:
    """Return the name of a setting as Hydra has it.

    >>> dotted(("data", "files", 0))
    'data.files.0'
    """
    return ".".join(map(str, way))
