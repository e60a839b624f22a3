"""The arguments of an object in a configuration: a node with a `_target_`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import MISSING

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.references import KeyPath, at, dotted, is_outer, values
from lightning_al.values.nearest import did_you_mean


def check_arguments(settings: Any, allowed: AllowList) -> None:
    """Check that each object in resolved settings gets only arguments that its class takes, and no text for a number.

    Raises:
        ValueError: If it gets another one; the message names the most similar argument.
    """
    # `pool` and `active` refer to the other parts, which are named as a command line names them.
    for key_path, target in sorted(values(settings), key=lambda leaf: leaf[0][0] in ("pool", "active")):
        if key_path[-1] != "_target_":
            continue
        parameters = parameters_of(allowed.find(target))
        if any(one.kind is one.VAR_KEYWORD for one in parameters.values()) or not parameters:
            continue
        node = at(settings, key_path[:-1])
        known = [name for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.POSITIONAL_ONLY)]
        for (place, *_), (name, value) in arguments_of(node, None):
            if place == "_args_":
                continue
            setting = dotted((*key_path[:-1], name))
            if name not in known:
                raise ValueError(
                    f"`{dotted(key_path[:-1])}` takes no setting `{name}`{did_you_mean(name, known)}. Choose one of: "
                    f"{', '.join(known)}."
                )
            expected = _expected_of_text(parameters[name].annotation)
            if isinstance(value, str) and expected and value != MISSING and not is_outer(value):
                raise ValueError(f"`{setting}` is the text {value!r:.60}, but {expected} is expected. Write one.")


def _expected_of_text(annotation: Any) -> str | None:
    """Return what an argument takes in place of a text, or None where a text may be right.

    >>> _expected_of_text("int | None"), _expected_of_text(bool), _expected_of_text("float | str")
    ('a number', 'true or false', None)
    """
    said = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    kinds = set(re.findall(r"[A-Za-z]\w*", said)) - {"typing", "Optional", "Union", "None", "NoneType"}
    if kinds and kinds <= {"int", "float"}:
        return "a number"
    return "true or false" if kinds == {"bool"} else None


def argument_at(settings: Any, key_path: KeyPath, allowed: AllowList) -> tuple[Any, str]:
    """Return the class of the innermost node on the way to a setting, and the name of the argument it lies in.

    For a setting outside every node, these are None and an empty string.
    """
    for length in range(len(key_path) - 1, -1, -1):
        node = at(settings, key_path[:length])
        if isinstance(node, Mapping) and "_target_" in node:
            made, rest = allowed.find(node["_target_"]), key_path[length:]
            names = (name for place, (name, _) in arguments_of(node, made) if rest[: len(place)] == place)
            return made, next(names, "")
    return None, ""


def arguments_of(node: Mapping[str, Any], made: Any) -> Iterator[tuple[KeyPath, tuple[str, Any]]]:
    """Yield the key path of each argument of a node, positional ones included, with its name and value."""
    parameters = list(parameters_of(made))
    given = node.get("_args_")
    for place, value in enumerate(given if isinstance(given, list | tuple) else ()):
        yield ("_args_", place), (parameters[place] if place < len(parameters) else "", value)
    for name, value in node.items():
        if name not in ("_target_", "_args_", "_partial_", "_recursive_", "_convert_"):
            yield (name,), (str(name), value)


def parameters_of(made: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class or function by name; none if Python cannot tell them."""
    try:
        return inspect.signature(made).parameters
    except (TypeError, ValueError):
        return {}
