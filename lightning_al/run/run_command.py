"""The command line of a run, as errors and hints name it: quoted, so that it can be pasted into a shell."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

_WORD = re.compile(r"[A-Za-z/][\w/.-]*|\$\{oc\.env:\w+\}", re.ASCII)
"""What Hydra reads as a text without quotes, unless it is one of these:"""

_NO_TEXTS = ("null", "true", "false", "nan", "inf")


def run_command(folder: str | os.PathLike[str], *words: str) -> str:
    """Return the command line that begins or resumes the run in a folder.

    Args:
        folder: The folder of the run.
        words: More words, each quoted for a shell, as `setting` returns them.

    >>> run_command("outputs/mine", setting("active.budget", 30))
    'lightning-al folder=outputs/mine active.budget=30'
    >>> print(run_command("my runs/1"))
    lightning-al 'folder="my runs/1"'
    """
    return " ".join(["lightning-al", setting("folder", os.fspath(folder)), *words])


def setting(name: str, value: Any) -> str:
    """Return a setting as a word of the command line, quoted first for Hydra and then for a shell.

    >>> print(setting("data.classes", ["cat", "sea lion"]))
    'data.classes=[cat,"sea lion"]'
    """
    return shlex.quote(f"{name}={_written(value)}")


def _written(value: Any) -> str:
    """Return a value in the syntax of Hydra's command line.

    >>> print(_written(["a b", 1, None, {"c": "${oc.env:D}"}]))
    ["a b",1,null,{c:${oc.env:D}}]
    """
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_written(part)}" for name, part in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    if not isinstance(value, str) or (text.lower() not in _NO_TEXTS and _WORD.fullmatch(text)):
        return text
    escaped = re.sub(r'(\\+)(?="|$)', r"\1\1", text).replace('"', '\\"')
    return f'"{escaped}"'
