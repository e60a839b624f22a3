"""The settings of a run: read safely from its folder, by dotted name, and which make another method or task."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from lightning_al.run.files import LARGEST_SETTINGS, is_absurd, read_text
from lightning_al.run.folder import CONFIG, COPY
from lightning_al.run.identity import OF_ACTIVE_LEARNING, Recorded, indifferent_settings

MOST_SETTINGS = 5_000

DEEPEST = 50
"""Deepest nesting of settings."""

LONGEST_NUMBER = 64
"""Most characters of a number."""

MOST_REFERENCES = 20
"""Most references in a text."""

LONGEST_REFERENCE = 2_000
"""Most characters of a text with references."""

_NUMBER = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|[0-9][0-9_:.]*)")

METHOD = (
    "acquisition",
    "posterior",
    "active.acquisition",
    "active.posterior",
    "active.query_size",
    "active.last_layer",
)
"""Settings that make another method in a comparison. Settings in neither this list nor the one below make another task.
Whether a folder holds the same run is another question, which `lightning_al.run.identity` answers."""

ONLY_SHOWN = ("metric", "mode", "name")
"""Settings that only show a run; they may change in an existing run."""

PLACED = (
    "folder",
    "logger",
    "callbacks.progress",
    "data.root",
    "data.download",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.log_every_n_steps",
)
"""Settings of the command line for where files lie, and what is logged or shown."""

INDIFFERENT = indifferent_settings()
"""Settings of the loop and the data that do not change a run's results."""

ACCELERATOR = "trainer.accelerator"
"""The setting for what a run computes on: runs go on elsewhere by force, and are compared, but the report says it."""

FORM = "data.form"
"""The form of the items: an entry of the settings of a program's run, which has no configuration."""

DRAWN = ("data.length", "pool.val.length", "data.classes", "data.labels", "pool.initial")
"""What such settings have of data that the seed may have drawn, beside the hashes of their contents."""

_HASH = re.compile(r"(?<![0-9a-f])([0-9a-f]{16}|[0-9a-f]{64})(?![0-9a-f])")

SOURCE = "source"
"""The part of such settings for the hash of a function's source, which no seed draws."""

NEITHER = (*ONLY_SHOWN, *PLACED, *INDIFFERENT, ACCELERATOR, "allow", "threads")
"""Settings that make neither another method nor another task."""


def flat(plain: Mapping[Any, Any]) -> dict[str, Any]:
    """Return all settings that are set, by their dotted name.

    Raises:
        ValueError: If there are more than 5000.

    >>> flat({"active": {"query_size": 10, "budget": None}, "seed": 0})
    {'active.query_size': 10, 'seed': 0}
    """
    found = list(islice(((key, value) for key, value in leaves(plain) if value is not None), MOST_SETTINGS + 1))
    if len(found) > MOST_SETTINGS:
        raise ValueError(f"it has more than {MOST_SETTINGS} settings. Put back its `config.yaml` from before.")
    return dict(found)


def tells_apart(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that make another method or another task: no seeds, budgets or paths."""
    return {
        key: value
        for key, value in settings.items()
        if value is not None
        and key.split(".")[-1] != "seed"
        and not any(is_part(key, name) for name in NEITHER)
        # A path that Hydra chose for the run.
        and "${hydra:" not in str(value)
    }


def of_task(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that make another task: the data, the model and how it is trained and tested."""
    return {
        key: value for key, value in tells_apart(settings).items() if not any(is_part(key, name) for name in METHOD)
    }


def drawn(*several: Mapping[str, Any]) -> list[str]:
    """Return the settings of programs' runs that their seeds may have drawn: sizes first, then contents, then labels.

    >>> drawn({"data.form": "(Tensor, int)", "data.labels": "[0, 1]", "data.length": 40, "active.query_size": 5})
    ['data.length', 'data.labels']
    """
    sizes = [key for key in DRAWN if key.endswith(".length")]
    labels = [key for key in DRAWN if key not in sizes]
    contents = sorted({key for settings in several for key in hashes(settings) if key.split(".")[-1] != SOURCE})
    there = {key for settings in several if is_of_program(settings) for key in settings}
    return [key for key in (*sizes, *(key for key in contents if key not in labels), *labels) if key in there]


def hashes(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings of a program's run that hold a hash, of contents or of a function's source.

    >>> hashes({"data.form": "(Tensor, int)", "active.forward.holds.mean": "Tensor [4] of float32, 18a4bc294ecc3ce9"})
    ['active.forward.holds.mean']
    """
    if not is_of_program(settings):
        return []
    return [key for key, value in settings.items() if isinstance(value, str) and _HASH.search(value)]


def is_of_program(settings: Mapping[str, Any]) -> bool:
    """Return whether settings are those of a program's run, which has no configuration."""
    return FORM in settings


def differing(several: list[dict[str, Any]]) -> list[str]:
    """Return the names of the settings that differ; of settings that refer to each other, one.

    >>> differing([{"a.b": 1, "x.a.b": 1, "c": 0}, {"a.b": 2, "x.a.b": 2, "c": 0}])
    ['a.b']
    """
    keys = sorted({key for settings in several for key in settings})
    found = [key for key in keys if len({repr(settings.get(key)) for settings in several}) > 1]
    return [key for key in found if not any(key.endswith(f".{other}") for other in found)]


def leaves(plain: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting with its dotted name.

    >>> list(leaves({"active": {"query_size": 10, "budget": None}, "seed": 0}))
    [('active.query_size', 10), ('active.budget', None), ('seed', 0)]
    """
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def is_part(name: str, whole: str) -> bool:
    """Return whether a setting is another one or a part of it.

    >>> is_part("data.root", "data"), is_part("database", "data")
    (True, False)
    """
    return name == whole or name.startswith(f"{whole}.")


def read_settings(path: Path) -> str:
    """Read the text of a configuration, after checking that no parser needs unbounded time or memory for it.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is not a file, too large or nested too deeply, or has aliases or an absurdly long number.
        yaml.YAMLError: If it is not YAML.
    """
    text = read_text(path, LARGEST_SETTINGS)
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            # A few aliases of aliases can expand to more settings than fit into memory.
            raise ValueError(f"{path.name} has aliases, which no run writes. {COPY}")
        if depth > DEEPEST:
            raise ValueError(f"{path.name} is nested too deeply. {COPY}")
        said = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if said.count("${") > MOST_REFERENCES or ("${" in said and len(said) > LONGEST_REFERENCE):
            # OmegaConf's grammar takes minutes, or the whole stack, to parse such a text.
            raise ValueError(f"{path.name} has a text with references that is too long to be parsed. {COPY}")
        is_plain = isinstance(event, yaml.ScalarEvent) and event.style is None
        if is_plain and len(event.value) > LONGEST_NUMBER and _NUMBER.fullmatch(event.value):
            raise _absurd(path, f"of {len(event.value)} characters")
    return text


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a run's folder; it is empty where there is none.

    Raises:
        ValueError: If the file is not a whole configuration.
        yaml.YAMLError: If it is not YAML.
    """
    if not os.path.lexists(folder / CONFIG):
        return {}
    config = yaml.safe_load(read_settings(folder / CONFIG))
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG} holds no settings. {COPY}")
    check_numbers(config, folder / CONFIG)
    return config


def settings_of_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a journal's first row holds, under the names that a configuration gives them."""
    data = header["data"]
    recorded = [name for name, argument in OF_ACTIVE_LEARNING.items() if isinstance(argument, Recorded)]
    loop = {f"active.{name}": header.get(name) for name in recorded if name not in ("acquisition", "posterior")}
    loop |= {"active.last_layer": _shown(header.get("last_layer"))}
    method = {**_options(header["acquisition"]), "posterior": _shown(header.get("posterior"))}
    pool = {"initial_size": len(header["initial"]), **header.get("datamodule", {})}
    # Of items with keys, which may come and go, a header has only the form.
    of_data = {
        f"data.{name}": data[name]
        for name in ("keyed", "length", "classes", "labels", "form", "contents")
        if name in data
    }
    return {**method, **dict(leaves({**loop, "pool": pool})), **of_data}


def _options(acquisition: Any) -> dict[str, Any]:
    """Return the class of an acquisition function and its options, or its text, which is all that 0.1.0 recorded."""
    if not isinstance(acquisition, Mapping) or "class" not in acquisition:
        return {"acquisition": _shown(acquisition)}
    options = {f"acquisition.{name}": value for name, value in acquisition.items() if name != "class"}
    return {
        "acquisition": acquisition["class"],
        **{name: _shown(value) if isinstance(value, Mapping | list) else value for name, value in options.items()},
    }


def _shown(config: Any, *, is_part: bool = False) -> Any:
    """Return a recorded object as the text of a call, with all of its options but seeds, as people write it.

    >>> _shown({"class": "lightning_al.Subsample", "acquisition": {"class": "lightning_al.BALD"}, "size": 30})
    'Subsample(acquisition=BALD(), size=30)'
    """
    if isinstance(config, list):
        return f"[{', '.join(_shown(one, is_part=True) for one in config)}]"
    if not isinstance(config, Mapping):
        return repr(config) if is_part else config
    name = str(config.get("class", config.get("function", ""))).split(".")[-1]
    # Without its number of fits where that is one, as in the texts of 0.1.0.
    options = {
        key: value
        for key, value in config.items()
        if key not in ("class", "function", "seed") and (key, value) != ("num_fits", 1)
    }
    return f"{name}({', '.join(f'{key}={_shown(value, is_part=True)}' for key, value in options.items())})"


def check_numbers(settings: Any, path: Path) -> None:
    """Refuse settings with a number larger than any that a run records.

    Raises:
        ValueError: If there is one.
    """
    for number in absurd_numbers(settings):
        raise _absurd(path, f"as large as {number:.0e}" if isinstance(number, float) else f"as large as {number}")


def absurd_numbers(plain: Any) -> Iterator[int | float]:
    """Yield the numbers in plain data that are larger than any that a run records.

    >>> list(absurd_numbers({"a": [1, 10**30], "b": 2.5}))
    [1000000000000000000000000000000]
    """
    if isinstance(plain, dict):
        plain = [*plain.keys(), *plain.values()]
    if isinstance(plain, list | tuple):
        for part in plain:
            yield from absurd_numbers(part)
    elif is_absurd(plain):
        yield plain


def _absurd(path: Path, size: str) -> ValueError:
    return ValueError(f"{path.name} has a number {size}. No run writes one so large. {COPY}")
