"""A stored configuration that is sure to be of a sane size, read alike by the command line and the report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lightning_al.run.files import LARGEST_SETTINGS, is_absurd, read_text

COPY = "Put back a copy of the folder from before."

DEEPEST = 50
"""How deeply settings are nested at most."""

LONGEST_NUMBER = 64
"""How many characters a number is written in at most."""

MOST_REFERENCES = 20
"""How many references a text has at most."""

LONGEST_REFERENCE = 2_000
"""How many characters a text with references has at most."""

_NUMBER = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|[0-9][0-9_:.]*)")


def read_settings(path: Path) -> str:
    """Read the text of a configuration, which a few bytes could let a parser take time and memory for without end.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no file, too large, nested too deeply, or has aliases or a number of absurd length.
        yaml.YAMLError: If it is no YAML.
    """
    text = read_text(path, LARGEST_SETTINGS)
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            # A few aliases of aliases can stand for more settings than fit into memory.
            raise ValueError(f"{path.name} has aliases, which no run writes. {COPY}")
        if depth > DEEPEST:
            raise ValueError(f"{path.name} is nested too deeply. {COPY}")
        said = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if said.count("${") > MOST_REFERENCES or ("${" in said and len(said) > LONGEST_REFERENCE):
            # They are parsed by a grammar that takes minutes, or Python's whole stack, for such a text.
            raise ValueError(f"{path.name} has a text with references that is too long to be parsed. {COPY}")
        is_plain = isinstance(event, yaml.ScalarEvent) and event.style is None
        if is_plain and len(event.value) > LONGEST_NUMBER and _NUMBER.fullmatch(event.value):
            raise _absurd(path, f"of {len(event.value)} characters")
    return text


def check_numbers(settings: Any, path: Path) -> None:
    """Refuse settings in which a number is larger than any that a run records.

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
