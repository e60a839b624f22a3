"""The answers in the annotations of a task: one by one, and by majority where several people gave some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_al.oracle.answers import AnswerError
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.files.label_text import LabelTexts
from lightning_al.oracle.label_studio.labelling_config import NOTE, Labelling
from lightning_al.oracle.set_aside import Other, SetAside, Skip, Unusable
from lightning_al.run.effort import LONGEST_NAME
from lightning_al.values.whole_numbers import shown

Annotation = Mapping[str, Any]
"""An annotation as Label Studio's export has it."""


class UndecidedError(AnswerError):
    """Several people answered, and no answer has a majority."""


@dataclass(frozen=True)
class Verdict:
    """What the annotations of a task say.

    Attributes:
        answer: The label, or an answer that is no label.
        seconds: How long the people took together, or None if any time is not known.
        who: Who gave it, and who gave another answer.
    """

    answer: Any
    seconds: float | None
    who: str

    @property
    def plain(self) -> Any:
        """The answer as the journal has it."""
        return self.answer.to_plain() if isinstance(self.answer, SetAside) else self.answer


class Reader:
    """Read the annotations of a project.

    Args:
        labelling: Where people answer.
        classes: The names of the classes by their numbers.
        annotators: How many people answer each task.
        name_of: Returns the name of a user by number.
    """

    def __init__(
        self, labelling: Labelling, classes: Mapping[int, str], annotators: int, name_of: Callable[[int], str]
    ) -> None:
        self._labelling = labelling
        self._classes = classes
        self._texts = LabelTexts(classes)
        self._annotators = annotators
        self._name_of = name_of

    def verdict(self, annotations: Iterable[Annotation]) -> Verdict | None:
        """Return the answer that more than half of the people gave, or None while too few have answered.

        Of several annotations of one person, the one that was changed last counts. A skipped task is an answer too.

        Raises:
            AnswerError: If too few are left without those that cannot be an answer.
            UndecidedError: If no answer has a majority.
        """
        of_person: dict[Any, Annotation] = {}
        for annotation in sorted(annotations, key=lambda one: (str(one.get("updated_at")), one.get("id") or 0)):
            of_person[annotation.get("completed_by")] = annotation
        answers: list[tuple[str, Any, Any]] = []
        faults: list[str] = []
        for person, annotation in of_person.items():
            name = self._name_of(person) if isinstance(person, int) else "somebody"
            try:
                answers.append((name, self.answer(annotation), annotation.get("lead_time")))
            except AnswerError as error:
                faults.append(f"the annotation of {name} {error}")
        if len(answers) < self._annotators:
            if faults:
                raise AnswerError("; ".join(faults))
            return None
        return self._of_majority(answers)

    def answer(self, annotation: Annotation) -> Any:
        """Return what one annotation says.

        Raises:
            AnswerError: If it cannot be an answer.
        """
        if annotation.get("was_cancelled"):
            return Skip()
        given = [part for part in annotation.get("result") or () if isinstance(part, Mapping)]
        labels = _values(given, self._labelling.control)
        if not labels:
            raise AnswerError("is empty; choose a label, or skip the task")
        if len(labels) > 1:
            raise AnswerError(f"has {len(labels)} labels, {' and '.join(map(shown, labels))}; choose one")
        label = self._labelling.choices.get(labels[0], labels[0])
        try:
            found = self._texts.answer(label, " ".join(_values(given, NOTE)))
        except AnswerError as error:
            raise AnswerError(f"cannot be read: {error}") from None
        if isinstance(found, Correction):
            raise AnswerError(f"says {shown(label)}; write the label alone, since a change of it is noticed")
        return found

    def _of_majority(self, answers: Sequence[tuple[str, Any, Any]]) -> Verdict:
        groups: dict[Any, list[tuple[str, Any, Any]]] = {}
        for given in answers:
            groups.setdefault(_vote(given[1]), []).append(given)
        first, *others = sorted(groups.values(), key=len, reverse=True)
        if 2 * len(first) <= len(answers):
            said = "; ".join(f"{self._in_words(group[0][1])} ({_names(group)})" for group in (first, *others))
            raise UndecidedError(
                f"{len(answers)} people answered without a majority: {said}. Let one more person decide."
            )
        dissent = [f"{_names(group)}: {self._in_words(group[0][1])}" for group in others]
        who = "; ".join([_names(first), *dissent])
        times = [time for _, _, time in answers]
        seconds = sum(times) if all(isinstance(time, int | float) for time in times) else None
        return Verdict(first[0][1], seconds, who if len(who) <= LONGEST_NAME else f"{who[: LONGEST_NAME - 3]}...")

    def _in_words(self, answer: Any) -> str:
        match answer:
            case Skip():
                return "skip"
            case Unusable():
                return "unusable"
            case Other():
                return f"other ({answer.text})"
        return str(self._classes.get(answer, answer))


def _vote(answer: Any) -> Any:
    """Return what two answers have to agree in; reasons may differ."""
    match answer:
        case Skip() | Unusable():
            return type(answer)
        case Other():
            return Other(" ".join(answer.text.casefold().split()))
    return answer


def _names(group: Iterable[tuple[str, Any, Any]]) -> str:
    return ", ".join(name for name, _, _ in group)


def _values(given: Iterable[Mapping[str, Any]], control: str) -> list[str]:
    """Return what the parts of an annotation say in one field, as texts that are not blank."""
    found: list[Any] = []
    for part in given:
        value = part.get("value")
        if part.get("from_name") == control and isinstance(value, Mapping):
            for name in ("choices", "text", "number"):
                said = value.get(name)
                found += said if isinstance(said, list) else [] if said is None else [said]
    return [text for one in found if (text := str(one).strip())]
