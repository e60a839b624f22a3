"""The size of a configuration with its references resolved, measured before: a few lines could take hours."""

from __future__ import annotations

import re
from typing import Any

from lightning_al.cli.references import INNER, KeyPath, at

LARGEST = 100_000
"""The most characters of the settings with all references resolved; a reference itself counts as 100."""

_OF_REFERENCE = 100


def check_size(raw: Any) -> None:
    """Check that settings do not refer to themselves, and do not become too large by their references.

    Raises:
        ValueError: If they do; the message names the setting.

    >>> check_size({"a": "${b}${b}", "b": 1})
    >>> check_size({"a": "${a}"})
    Traceback (most recent call last):
        ...
    ValueError: `a` refers to itself. Write the value itself.
    """
    _Sizes(raw).of(())


class _Sizes:
    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._known: dict[KeyPath, tuple[str, int]] = {}
        self._open: set[KeyPath] = set()

    def of(self, key_path: KeyPath) -> tuple[str, int]:
        """Return the text at a key path, empty if there is none, and its size with all references resolved."""
        if key_path not in self._known:
            if key_path in self._open:
                raise ValueError(f"`{'.'.join(map(str, key_path))}` refers to itself. Write the value itself.")
            self._open.add(key_path)
            self._known[key_path] = self._measured(key_path)
            self._open.remove(key_path)
        return self._known[key_path]

    def _measured(self, key_path: KeyPath) -> tuple[str, int]:
        value = at(self._raw, key_path)
        if isinstance(value, dict | list):
            names = value if isinstance(value, dict) else range(len(value))
            text, size = "", sum(1 + self.of((*key_path, name))[1] for name in names)
        else:
            text = str(value)
            size = len(text)
            while found := INNER.search(text):
                target = self._target(found[0], key_path)
                said, more = ("", 0) if target is None else self.of(target)
                size += _OF_REFERENCE + more
                text = text[: found.start()] + said.replace("${", "_") + text[found.end() :]
        if size > LARGEST:
            raise ValueError(
                f"`{'.'.join(map(str, key_path))}` becomes too large when its references are resolved. Write out "
                "what it stands for."
            )
        return text, size

    def _target(self, reference: str, key_path: KeyPath) -> KeyPath | None:
        """Return the key path that a reference leads to, or None for the time and the run's folder."""
        body = re.sub(r"^oc\.(select|dict\.\w+)\s*:", "", reference[2:-1].strip()).partition(",")[0].strip()
        if body.startswith(("hydra:", "now:")):
            return None
        names = body.lstrip(".")
        up = len(body) - len(names)
        target: KeyPath = key_path[: max(0, len(key_path) - up)] if up else ()
        for name in filter(None, re.split(r"[.\[\]]+", names)):
            # If a part of the path is itself a reference, follow it.
            while isinstance(at(self._raw, target), str) and (on := INNER.fullmatch(str(at(self._raw, target)))):
                self.of(target)  # raises if it leads back to itself
                target = self._target(on[0], target) or ()
            owner = at(self._raw, target)
            target = (*target, int(name) if isinstance(owner, list) and name.isdigit() else name)
        return target
