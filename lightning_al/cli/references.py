"""References in a configuration: inner ones to its own settings, and outer ones to anything else.

An outer reference, such as ``${oc.env:NAME}``, is resolved only for the configuration of this command. It is stored,
shown and compared as a reference, never as its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from secrets import token_hex
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

KeyPath = tuple[str | int, ...]

INNER = re.compile(
    r"""\$\{(
        [^${}:]*                                             # another setting
        | \s*oc\.(select|dict\.keys|dict\.values)\s*:[^${}]* # other settings
        | \s*now:[^${}]*
        | hydra:runtime\.output_dir                          # the run's folder, wherever it lies
    )\}""",
    re.VERBOSE,
)
"""An inner reference (to settings, the time or the run's folder) that contains no other reference."""

_OF_HYDRA = re.compile(r"\$\{hydra:((?:runtime|job)\.[\w.]+)\}")


def is_outer(value: Any) -> bool:
    """Return whether a value contains an outer reference.

    >>> is_outer("${data.root}/images"), is_outer("${oc.env:HOME}/images"), is_outer("${oc.select:${oc.env:X}}")
    (False, True, True)
    """
    if not isinstance(value, str):
        return False
    left = INNER.sub("_", value)
    while left != value:
        left, value = INNER.sub("_", left), left
    return "${" in left


def is_from_outside(value: Any) -> bool:
    """Return whether a value contains an outer reference that may be a secret, unlike what Hydra says of its own job.

    >>> is_from_outside("${hydra:runtime.choices.acquisition}"), is_from_outside("${hydra:job.env_set.KEY}")
    (False, True)
    """
    if not isinstance(value, str):
        return False
    return is_outer(_OF_HYDRA.sub(lambda found: found[0] if found[1].startswith("job.env_") else "_", value))


def is_reference(value: Any) -> bool:
    """Return whether a value contains references, inner ones only.

    >>> is_reference("${data}"), is_reference("data"), is_reference("${oc.env:HOME}")
    (True, False, False)
    """
    return isinstance(value, str) and "${" in value and not is_outer(value)


def write_hydra_values(config: DictConfig) -> None:
    """Replace references to Hydra's values by the values of this command, since other commands have others.

    References to the job's environment variables stay, and those to the run's folder, which may be moved.
    """

    def said(found: re.Match[str]) -> str:
        name = str(found[1])
        if name == "runtime.output_dir" or name.startswith("job.env_") or not HydraConfig.initialized():
            return found[0]
        value = at(OmegaConf.to_container(HydraConfig.get(), resolve=False), tuple(name.split(".")))
        if value is None or (isinstance(value, str) and ("${" in value or value == MISSING)):
            value = OmegaConf.select(OmegaConf.create({"hydra": HydraConfig.get()}), f"hydra.{name}")  # some 15 ms
        is_one = not (value is None or isinstance(value, Mapping | list) or OmegaConf.is_config(value))
        return str(value) if is_one else found[0]

    for key_path, value in values(OmegaConf.to_container(config, resolve=False)):
        settled = _OF_HYDRA.sub(said, value) if isinstance(value, str) else value
        if settled != value:
            put(config, key_path, settled)


def shown(config: DictConfig) -> dict[str, Any]:
    """Return the settings as they may be stored and shown: with inner references resolved, and outer ones kept.

    >>> shown(OmegaConf.create({"x": "${oc.env:SECRET}", "y": "at ${x}", "z": 1, "w": "${z}"}))
    {'x': '${oc.env:SECRET}', 'y': 'at ${oc.env:SECRET}', 'z': 1, 'w': 1}
    """
    raw = OmegaConf.to_container(config, resolve=False)
    # Besides the settings, inner references can name the time and the run's folder.
    hydra: Any = HydraConfig.instance().cfg
    output_dir = None if hydra is None else OmegaConf.select(hydra, "hydra.runtime.output_dir")
    is_timed = any(isinstance(value, str) and "now" in value for _, value in values(raw))
    show = _shown.__wrapped__ if is_timed else _shown
    return deepcopy(show(_Plain(repr(raw), raw), output_dir))


@dataclass(frozen=True)
class _Plain:
    """Plain data with its text, by which it is found again."""

    text: str
    data: Any = field(compare=False)


@lru_cache(maxsize=128)
def _shown(raw: _Plain, output_dir: str | None) -> dict[str, Any]:
    """Return the settings as shown. A command asks a dozen times for the same ones, at 10 ms each."""
    found: list[str] = []
    # A random mask, so that no text of the configuration can pretend to be a masked reference.
    secret = token_hex(16)
    masked_value = re.compile(f"\ue000{secret}([0-9]+)\ue001")

    def mask(key_path: KeyPath, value: Any) -> Any:
        if not is_outer(value):
            return value
        found.append(value)
        return f"\ue000{secret}{len(found) - 1}\ue001"

    def unmask(key_path: KeyPath, value: Any) -> Any:
        return masked_value.sub(lambda part: found[int(part[1])], value) if isinstance(value, str) else value

    masked = OmegaConf.create(mapped(raw.data, mask))
    return dict(mapped(OmegaConf.to_container(masked, resolve=True), unmask))


def values(plain: Any, key_path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the key path and value of each leaf of plain data.

    >>> list(values({"a": [1, {"b": 2}]}))
    [(('a', 0), 1), (('a', 1, 'b'), 2)]
    """
    if isinstance(plain, Mapping):
        for name, part in plain.items():
            yield from values(part, (*key_path, name))
    elif isinstance(plain, list | tuple):
        for place, part in enumerate(plain):
            yield from values(part, (*key_path, place))
    else:
        yield key_path, plain


def at(plain: Any, key_path: KeyPath) -> Any:
    """Return the value at a key path in plain data, or None if there is none."""
    for name in key_path:
        try:
            plain = plain[name]
        except (KeyError, IndexError, TypeError):
            return None
    return plain


def put(plain: Any, key_path: KeyPath, value: Any) -> None:
    """Set the value at a key path in plain data."""
    at(plain, key_path[:-1])[key_path[-1]] = value


def written_at(raw: Any, key_path: KeyPath) -> KeyPath:
    """Return the key path at which a value is written; inside a referenced part, that of the reference.

    >>> written_at({"a": {"b": 1}, "c": "${a}"}, ("c", "b"))
    ('c',)
    """
    return next(
        (key_path[:length] for length in range(1, len(key_path)) if isinstance(at(raw, key_path[:length]), str)),
        key_path,
    )


def mapped(plain: Any, function: Callable[[KeyPath, Any], Any], key_path: KeyPath = ()) -> Any:
    """Return plain data with a function of its key path and value applied to each leaf."""
    if isinstance(plain, Mapping):
        return {name: mapped(part, function, (*key_path, name)) for name, part in plain.items()}
    if isinstance(plain, list | tuple):
        return [mapped(part, function, (*key_path, place)) for place, part in enumerate(plain)]
    return function(key_path, plain)


def dotted(key_path: KeyPath) -> str:
    """Return the name of a setting as Hydra writes it.

    >>> dotted(("data", "files", 0))
    'data.files.0'
    """
    return ".".join(map(str, key_path))
