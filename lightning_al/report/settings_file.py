"""Safe reading of a stored configuration, for the command line and the report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lightning_al.run.files import LARGEST_SETTINGS, is_absurd, read_text

COPY = "Put back a copy of the folder from before."

DEEPEST = 50
"""Deepest nesting of settings."""

LONGEST_NUMBER = 64
"""Most characters of a number."""

MOST_REFERENCES = 20
"""Most references in a text."""

LONGEST_REFERENCE = 2_000
"""Most characters of a text with references."""

_NUMBER = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|[0-9][0-9_:.]*)")


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


def check_numbers(settings: Any, path: Path) -> None:
    """Refuse settings with a number larger than any that a run records.

    Raises:
        ValueError: If there is one.
    """
    if isinstance(settings, dict):
        settings = [*settings.keys(), *settings.values()]
    if isinstance(settings, list | tuple):
        for part in settings:
            check_numbers(part, path)
    elif is_absurd(settings):
        raise _absurd(path, f"as large as {settings:.0e}" if isinstance(settings, float) else f"as large as {settings}")


def _absurd(path: Path, size: str) -> ValueError:
    return ValueError(f"{path.name} has a number {size}. No run writes one so large. {COPY}")
