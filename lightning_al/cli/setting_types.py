"""The types of the settings at the top level, and limits on numbers that cost memory, processes or files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightning_al.cli.references import dotted, is_outer, values
from lightning_al.run.files import is_absurd

PARTS = ("model", "data", "trainer", "pool", "active")
"""Settings that are a class and its arguments."""

LARGEST = {
    "depth": 1_000,
    "devices": 1_024,
    "image_size": 10_000,
    "num_buckets": 100_000_000,
    "num_classes": 1_000_000,
    "num_configurations": 10_000_000,
    "num_inputs": 10_000_000,
    "num_nodes": 10_000,
    "num_samples": 1_000_000,
    "num_workers": 1_024,
    "repeats": 10_000,
    "samples_per_epoch": 1_000_000_000,
    "threads": 1_024,
    "width": 1_000_000,
}
"""The largest number for each setting that costs memory or processes at once, by the setting's last name."""

LONGEST_TEXT = 10_000
"""The most characters of a setting."""

LONGEST_NAME = 500
"""The most characters of a setting that appears in titles, tables and folder names."""

EXPECTED = {"seed": "a whole number, such as 0", "threads": "a whole number, or null"}
"""What a setting at the top level that is no text is to be set to."""

TEXT = str | int | float
"""Where a text is expected, a number stands for its text."""

_WIDE = re.compile(r":[^{}]*\d{4}")


def check_types(settings: Mapping[str, Any]) -> None:
    """Check the types of the settings, and that numbers are not absurdly large.

    Raises:
        ValueError: If a setting has another type or is too large; the message names it.
    """
    for name in PARTS:
        if not isinstance(settings[name], Mapping) and not is_outer(settings[name]):
            raise ValueError(
                f"`{name}` is {_said(settings[name])}, but a class and its arguments are expected. Give one."
            )
        if isinstance(settings[name], Mapping) and settings[name].get("_partial_"):
            raise ValueError(f"`{name}` has `_partial_`, so it would not be made. Remove it.")
    for name in ("callbacks", "logger"):
        if not isinstance(settings[name], Mapping | None):
            raise ValueError(f"`{name}` is {_said(settings[name])}, but named classes are expected. Give it names.")
    for name, kinds in {"seed": int, "threads": int | None, "metric": TEXT | None, "name": TEXT}.items():
        value = settings[name]
        if not is_outer(value) and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise ValueError(
                f"`{name}` is {_said(value)}, which has the wrong type. Set it to {EXPECTED.get(name, 'a text')}."
            )
    if isinstance(settings["threads"], int) and settings["threads"] < 1:
        raise ValueError(f"`threads` is {settings['threads']}, which is less than 1. Set it to 1 or null.")
    for key_path, value in values(settings):
        _check_size(dotted(key_path), str(key_path[-1]), value)


def _check_size(name: str, last: str, value: Any) -> None:
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 50 else value
    largest = LARGEST.get(last)
    if isinstance(number, int | float) and (is_absurd(number) or (largest is not None and number > largest)):
        raise ValueError(f"`{name}` is {number:.4g}, which no machine can do. Set it to {largest or 2**63} or less.")
    if isinstance(value, str):
        longest = LONGEST_NAME if last in ("name", "metric", "filename") else LONGEST_TEXT
        if len(value) > longest:
            raise ValueError(f"`{name}` has {len(value)} characters. Set it to a text of {longest} or fewer.")
        if last == "filename" and _WIDE.search(value):
            raise ValueError(f"`{name}` asks for thousands of digits: {value[:100]}. Give it a smaller width.")


def _said(value: Any) -> str:
    return f"{value!r:.60}"
