"""The arguments of an object as a program's run describes it, such as ``MCDropout(num_samples=20)``."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 1_000
"""Most characters of a description that is parsed."""

DEEPEST = 5
"""Most objects inside each other that are told apart by their arguments."""


def spread(several: Sequence[Mapping[str, Any]], *, depth: int = DEEPEST) -> list[dict[str, Any]]:
    """Return settings with the arguments of objects in place of these, where all are of one class.

    A configuration has these arguments as settings of their own, so that the two are named alike.

    >>> spread([{"posterior": "MCDropout(num_samples=5)"}, {"posterior": "MCDropout(num_samples=9)"}])
    [{'posterior.num_samples': '5'}, {'posterior.num_samples': '9'}]
    >>> spread([{"posterior": "MCDropout(num_samples=5)"}, {"posterior": "Deterministic()"}])
    [{'posterior': 'MCDropout(num_samples=5)'}, {'posterior': 'Deterministic()'}]
    """
    found = [dict(settings) for settings in several]
    for key in {key: None for settings in found for key in settings}:
        values = [settings.get(key) for settings in found]
        parts = [arguments(value) for value in values] if len(set(map(repr, values))) > 1 else []
        classes = {part[0] if part is not None else None for part in parts}
        if len(classes) == 1 and None not in classes and depth > 0:
            inner = spread([part[1] for part in parts if part is not None], depth=depth - 1)
            for settings, own in zip(found, inner, strict=True):
                del settings[key]
                settings.update({f"{key}.{name}": value for name, value in own.items()})
    return found


def arguments(text: Any) -> tuple[str, dict[str, str]] | None:
    """Return the class and the arguments of an object by its description, or None if that says something else.

    >>> arguments("Subsample(acquisition=BALD(), size=30)")
    ('Subsample', {'acquisition': 'BALD()', 'size': '30'})
    """
    if not isinstance(text, str) or len(text) > LONGEST or not text.endswith(")"):
        return None
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    found = {word.arg: ast.get_source_segment(text, word.value) or "" for word in call.keywords if word.arg}
    written = ", ".join(f"{name}={value}" for name, value in found.items())
    # Two descriptions with the same arguments are the same.
    return (call.func.id, found) if text == f"{call.func.id}({written})" else None
