"""What a configuration becomes once its references are resolved: measured before, since a few lines can take hours."""

from __future__ import annotations

import re
from typing import Any

from lightning_al.cli.references import INNER, Way, at

LARGEST = 100_000
"""How many characters the settings have at most with all references resolved, where a reference counts as 100."""

_OF_REFERENCE = 100


def check_size(raw: Any) -> None:
    """Refuse settings that refer to themselves, or that become too large by what they refer to.

    Raises:
        ValueError: If they do; the message names where.

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
        self._known: dict[Way, tuple[str, int]] = {}
        self._open: set[Way] = set()

    def of(self, way: Way) -> tuple[str, int]:
        """Return the text at a way, empty where there is none, and how large all of it is."""
        if way not in self._known:
            if way in self._open:
                raise ValueError(f"`{'.'.join(map(str, way))}` refers to itself. Write the value itself.")
            self._open.add(way)
            self._known[way] = self._measured(way)
            self._open.remove(way)
        return self._known[way]

    def _measured(self, way: Way) -> tuple[str, int]:
        value = at(self._raw, way)
        if isinstance(value, dict | list):
            names = value if isinstance(value, dict) else range(len(value))
            text, size = "", sum(1 + self.of((*way, name))[1] for name in names)
        else:
            text = str(value)
            size = len(text)
            while found := INNER.search(text):
                target = self._target(found[0], way)
                said, more = ("", 0) if target is None else self.of(target)
                size += _OF_REFERENCE + more
                text = text[: found.start()] + said.replace("${", "_") + text[found.end() :]
        if size > LARGEST:
            raise ValueError(
                f"`{'.'.join(map(str, way))}` becomes too large by what it refers to. Write out what it stands for."
            )
        return text, size

    def _target(self, reference: str, way: Way) -> Way | None:
        """Return the way to what a reference leads to, or None for the time and the run's folder."""
        body = re.sub(r"^oc\.(select|dict\.\w+)\s*:", "", reference[2:-1].strip()).partition(",")[0].strip()
        if body.startswith(("hydra:", "now:")):
            return None
        names = body.lstrip(".")
        up = len(body) - len(names)
        target: Way = way[: max(0, len(way) - up)] if up else ()
        for name in filter(None, re.split(r"[.\[\]]+", names)):
            # What lies in a part that is itself a reference lies where that leads to.
            while isinstance(at(self._raw, target), str) and (on := INNER.fullmatch(str(at(self._raw, target)))):
                self.of(target)  # which ends where it leads back to itself
                target = self._target(on[0], target) or ()
            owner = at(self._raw, target)
            target = (*target, int(name) if isinstance(owner, list) and name.isdigit() else name)
        return target
