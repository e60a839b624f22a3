"""The answer that a person wrote into a cell."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from lightning_al.oracle.answers import AnswerError
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.set_aside import Other, Skip, Unusable
from lightning_al.task.class_texts import ClassTexts
from lightning_al.values.errors import first_few
from lightning_al.values.spreadsheets import as_number
from lightning_al.values.whole_numbers import LARGEST, shown


class LabelTexts:
    """Read answers from text, by the names of the classes.

    Args:
        classes: The names of the classes by their numbers; empty where labels are numbers or texts without names.

    An earlier answer is corrected by ``correct: dog``.

    >>> texts = LabelTexts({0: "cat", 1: "dog"})
    >>> texts.answer("Dog "), texts.answer("0"), texts.answer("unusable", "blurred"), texts.answer("other: a fox")
    (1, 0, Unusable(reason='blurred'), Other(text='a fox'))
    """

    def __init__(self, classes: Mapping[int, str]) -> None:
        self._classes = dict(sorted(classes.items()))
        self._texts = ClassTexts((name, number) for number, name in classes.items())

    @property
    def expected(self) -> str:
        """What may be written, as an error says it."""
        names = first_few([shown(name) for name in self._classes.values()], most=12)
        return f"{names or 'a label'}, or `skip`, `unusable`, or `other: TEXT`"

    def answer(self, text: str, note: str = "") -> Any:
        """Return the answer that a text stands for: a class number, another label, or an answer that is no label.

        Case and blanks do not matter where they leave one class. A class number stands for its class unless the names
        are numbers themselves.

        Args:
            text: What was written as the label; not empty.
            note: What was written beside it, which is the reason why a point is unusable.

        Raises:
            AnswerError: If it is none.
        """
        for written in (text, text.removeprefix("'")):  # a spreadsheet may show `-1` as `'-1`
            number = self._of_name(written)
            if number is not None:
                return number
        word, _, rest = text.partition(":")
        rest = rest.strip() or note.strip()
        match word.strip().casefold():
            case "skip":
                return Skip()
            case "unusable":
                return Unusable(rest)
            case "other" if rest:
                return Other(rest)
            case "correct" if rest:
                return Correction(self.answer(rest))
            case "correct":
                raise AnswerError("'correct' does not say to what; write `correct: LABEL`")
            case "other":
                raise AnswerError("'other' does not say what it is; write `other: TEXT`")
        return self._of_number(text)

    def corrects(self, text: str) -> bool:
        """Return whether a text corrects an earlier answer."""
        return text.partition(":")[0].strip().casefold() == "correct" and self._of_name(text) is None

    def may_go_on(self, text: str) -> bool:
        """Return whether a text may be the beginning of another label, so that a file may have ended too early."""
        return not self._classes or self._texts.begun(text) or text.strip().isdigit() or ":" in text

    def _of_name(self, text: str) -> int | None:
        found = sorted(self._texts.named(text))
        if len(found) > 1:
            names = " and ".join(shown(self._classes[number]) for number in found)
            raise AnswerError(f"{shown(text)} may be {names}; write it as the class is written, or its number")
        return found[0] if found else None

    def _of_number(self, text: str) -> Any:
        if not self._classes:
            number = as_number(text)
            if number is None:
                return text
            return int(number) if number == number.to_integral_value() and abs(number) <= LARGEST else float(number)
        if numbered := self._texts.numbered(text):
            return numbered.pop()
        names = {name.casefold(): name for name in self._classes.values()}
        close = get_close_matches(text.casefold(), names, n=1, cutoff=0.5)
        raise AnswerError(
            f"{shown(text)} names no class" + (f"; the nearest one is {shown(names[close[0]])}" if close else "")
        )
