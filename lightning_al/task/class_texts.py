"""The class that a text stands for, where a person or a spreadsheet wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from lightning_al.values.folding import folded
from lightning_al.values.spreadsheets import as_number


class ClassTexts:
    """Find the class that a text stands for, by the name of the class or by its number.

    A class number stands for its class only where no name is a number. Otherwise, ``1.0``, which is how spreadsheets
    and pandas may write ``1``, would be the second of the classes ``1``, ``2`` and ``3``.

    Args:
        names: The name and the number of each class.

    Attributes:
        has_numbers: Whether a name is a number, so that a text is never taken for a class number.

    >>> animals, stars = ClassTexts([("cat", 0), ("dog", 1)]), ClassTexts([("1", 0), ("2", 1), ("3", 2)])
    >>> animals.of("Dog "), animals.of("1.0"), stars.of("1.0"), stars.of("0")
    ({1}, {1}, {0}, set())
    """

    def __init__(self, names: Iterable[tuple[str, int]]) -> None:
        self._exact: dict[str, set[int]] = {}
        self._folded: dict[str, set[int]] = {}
        self._equal: dict[Decimal, set[int]] = {}
        self._numbers: set[int] = set()
        for name, number in names:
            self._exact.setdefault(name.strip(), set()).add(number)
            self._folded.setdefault(folded(name).casefold(), set()).add(number)
            if (value := as_number(name)) is not None:
                self._equal.setdefault(value, set()).add(number)
            self._numbers.add(number)
        self.has_numbers = bool(self._equal)

    def of(self, text: str) -> set[int]:
        """Return the classes that a text may stand for: by a name, or else by a class number."""
        return self.named(text) or self.numbered(text)

    def named(self, text: str) -> set[int]:
        """Return the classes of a name: the same one, or else one in other case or blanks, or else an equal number."""
        value = as_number(text)
        equal = set() if value is None else self._equal.get(value, set())
        return self._exact.get(text.strip()) or self._folded.get(folded(text).casefold()) or equal

    def numbered(self, text: str) -> set[int]:
        """Return the class of a class number, or none where names are numbers."""
        value = None if self.has_numbers else as_number(text)
        return {int(value)} if value is not None and value in self._numbers else set()

    def begun(self, text: str) -> bool:
        """Return whether a text is the beginning of a longer name."""
        start = folded(text).casefold()
        return any(name.startswith(start) and name != start for name in self._folded)
