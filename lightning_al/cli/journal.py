"""The command line of the journal. Only the standard library is imported at the top, so help is fast."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_al import __version__
from lightning_al.cli.named_points import HOW_NAMED, indices_of
from lightning_al.report.one_line_parser import OneLineParser

if TYPE_CHECKING:
    from lightning_al.oracle.label_rules import LabelRules
    from lightning_al.run.labels import Label
    from lightning_al.run.records import Records
    from lightning_al.task.class_names import Classes

NAME = "lightning-al-journal"


def main(arguments: Sequence[str] | None = None) -> int:
    """Show or change what a run recorded, and return the exit code: 2 if the arguments or the folder are invalid."""
    asked = _parser().parse_args(arguments)
    try:
        asked.run(asked)
    except (RuntimeError, ValueError, OSError, LookupError, TypeError, AttributeError) as error:
        # The last three come from a journal with contents that no run writes.
        print(f"{NAME}: {_in_a_line(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        NAME,
        description="Show, correct and export the labels that a run recorded in its folder, change its classes, or "
        "repair its journal. "
        "Nothing is changed while a process runs the run. A corrected label replaces the old one when the run resumes; "
        "the old one stays in the journal.",
        epilog="example: lightning-al-journal correct outputs/mine 17 cat",
    )
    parser.add_argument("--version", action="version", version=f"lightning-al {__version__}")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")

    def action(name: str, run: Any, about: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        made.set_defaults(run=run)
        return made

    show = action("show", _show, "show what each round queried, the labels given, and later changes")
    show.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    correct = action("correct", _correct, "replace the labels of points (all or none)")
    correct.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    correct.add_argument("point", metavar="POINT", help=HOW_NAMED)
    correct.add_argument(
        "label", metavar="LABEL", help="its label: a class number, a class name, a number, or a list such as "
        "'[0.5, 0.5]'; null stands for the dataset's own; 'unusable: REASON' and 'other: TEXT' set the point aside",
    )  # fmt: skip
    correct.add_argument("more", nargs="*", metavar="POINT LABEL", help="more points, each with its label")
    back = action(
        "give-back", _give_back, "remove the labels of points (all or none), so that they can be queried again"
    )
    back.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    back.add_argument("points", nargs="+", metavar="POINT", help=HOW_NAMED)
    skip = action(
        "skip", _skip, "leave points out of the query that awaits answers, such as those that are gone (all or none)"
    )
    skip.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    skip.add_argument("points", nargs="+", metavar="POINT", help=HOW_NAMED)
    add = action(
        "add-class", _add_class, "add a class, and label the points that were answered by 'other' with its name"
    )
    add.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    add.add_argument("name", metavar="NAME", help="name of the class")
    rename = action("rename-class", _rename_class, "give a class another name")
    rename.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    rename.add_argument("old", metavar="OLD", help="its name")
    rename.add_argument("new", metavar="NEW", help="the name that it gets")
    merge = action("merge-classes", _merge_classes, "turn all labels of one class into those of another")
    merge.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    merge.add_argument("source", metavar="FROM", help="the class that loses its labels; it stays in the list")
    merge.add_argument("target", metavar="INTO", help="the class that gets them")
    export = action("export", _export, "write all labels as CSV")
    export.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    export.add_argument("--out", type=Path, metavar="FILE", help="the file to write; by default the labels are printed")
    repair = action("repair", _repair, "keep the good rounds of a damaged journal, and the damaged file beside it")
    repair.add_argument("folder", type=Path, nargs="+", metavar="FOLDER", help="a run's folder")
    return parser


def _show(asked: argparse.Namespace) -> None:
    from lightning_al.run.journal import Journal
    from lightning_al.run.printable import printable

    for line in _lines(Journal.read(asked.folder)):
        print(printable(line, most=10_000))


def _lines(records: Records) -> Iterator[str]:
    from lightning_al.run.identity import described
    from lightning_al.run.recorded_labels import recorded_labels
    from lightning_al.run.records import INITIAL
    from lightning_al.task.class_names import Classes

    header = records.header or {}
    classes = Classes.from_dict(header.get("classes"))
    found = recorded_labels(records)
    yield f"{described(header, 'acquisition')}, seed {header.get('seed')}, {_plural(len(records.rounds), 'round')}"
    yield f"before round 0: {', '.join(_told(one, classes) for one in found if one.round is None)}"
    for round in records.history:
        asked = [_told(one, classes) for one in found if one.round == round.number]
        yield f"round {round.number}, fitted with {_plural(round.labelled, 'label')}: {_asked(asked)}"
    if records.query is not None:
        query = records.query
        rest = ", ".join(map(str, query.rest)) or "nothing"
        if query.number == INITIAL:
            yield f"before round 0, still to answer: {rest}"
        else:
            asked = [_told(one, classes) for one in found if one.round == query.number]
            yield f"round {query.number}, not recorded yet: {_asked(asked)}; still to answer: {rest}"
    if (header.get("classes") or {}).get("changed"):
        yield f"the classes are now {', '.join(classes.names.values())}"
    for change in records.changes:
        what = "given back" if change.given_back else f"corrected to {_named(change.label, classes)}"
        yield f"after {_plural(change.after, 'query', 'queries')}: {change.index} was {what}"


def _asked(told: list[str]) -> str:
    return f"asked {', '.join(told)}" if told else "asked nothing"


def _told(one: Any, classes: Classes) -> str:
    label = "given back" if one.state == "given back" else _named(one.label, classes)
    before = f", first {_named(one.given, classes)}" if one.state in ("corrected", "given back") else ""
    return f"{one.index} ({label}{before}{', audit' if one.is_audit else ''})"


def _named(label: Label, classes: Classes) -> str:
    from lightning_al.run.labels import kind_of_aside, note_of

    if label is None:
        return "the dataset's own"
    kind = kind_of_aside(label)
    if kind is not None:
        return f"{kind}: {note}" if (note := note_of(label)) else kind
    name = classes.name_of(label)
    return json.dumps(label) if name is None else f"{label} {name}"


def _correct(asked: argparse.Namespace) -> None:
    from lightning_al.oracle.corrections import correct_by
    from lightning_al.task.class_names import Classes

    keys = _keys_of_run(asked.folder)
    labels = _labels([asked.point, asked.label, *asked.more], keys, asked.folder)
    reads = {index: partial(_read, label) for index, label in labels.items()}
    for before in correct_by(asked.folder, reads):
        was = "the dataset's own" if before.label is None else _named(before.label, Classes())
        is_now = f"the label of {_point(before.index, keys)} was {was}, and is {labels[before.index]}"
        print(f"{asked.folder}: {is_now}. {_how_on(asked.folder)}")


def _keys_of_run(folder: Path) -> list[str | int]:
    from lightning_al.run.journal_reading import check_is_there
    from lightning_al.run.keys_file import load_keys

    check_is_there(folder)
    return load_keys(folder)


def _point(index: int, keys: Sequence[str | int]) -> str:
    from lightning_al.run.printable import printable

    return f"{index} ({printable(keys[index])})" if 0 <= index < len(keys) else str(index)


def _labels(words: list[str], keys: Sequence[str | int], folder: Path) -> dict[int, str]:
    """Return labels by index, from a list of alternating points and labels.

    Raises:
        ValueError: If a point has no label, is not one of the run, or comes twice.
    """
    if len(words) % 2:
        raise ValueError(f"`correct` got the point {words[-1]} without a label. Give a label after each point.")
    indices = indices_of(words[::2], keys, folder)
    twice = sorted({index for index in indices if indices.count(index) > 1})
    if twice:
        raise ValueError(f"`correct` got two labels for the index {', '.join(map(str, twice))}. Give one for each.")
    return dict(zip(indices, words[1::2], strict=True))


def _give_back(asked: argparse.Namespace) -> None:
    from lightning_al.oracle.corrections import give_back_all

    keys = _keys_of_run(asked.folder)
    for before in give_back_all(asked.folder, indices_of(asked.points, keys, asked.folder)):
        is_now = f"{_point(before.index, keys)} is in the pool again; its label still counts as spent"
        print(f"{asked.folder}: {is_now}. {_how_on(asked.folder)}")


def _skip(asked: argparse.Namespace) -> None:
    from lightning_al.oracle.telling import skip

    keys = _keys_of_run(asked.folder)
    indices = list(dict.fromkeys(indices_of(asked.points, keys, asked.folder)))
    left = skip(asked.folder, indices)
    for index in indices:
        print(
            f"{asked.folder}: {_point(index, keys)} is skipped, at no cost; {_plural(len(left), 'answer')} of the "
            f"query still to come. Start the run again on {asked.folder}."
        )


def _add_class(asked: argparse.Namespace) -> None:
    from lightning_al.oracle.class_changes import add_class

    points = add_class(asked.folder, asked.name)
    taken = f" {_plural(len(points), 'answer')} 'other: {asked.name.strip()}' became labels." if points else ""
    print(f"{asked.folder}: the classes are {_listed(asked.folder)}.{taken} {_how_with_classes(asked.folder)}")


def _rename_class(asked: argparse.Namespace) -> None:
    from lightning_al.oracle.class_changes import rename_class

    rename_class(asked.folder, asked.old, asked.new)
    print(f"{asked.folder}: the classes are {_listed(asked.folder)}. {_how_with_classes(asked.folder)}")


def _merge_classes(asked: argparse.Namespace) -> None:
    from lightning_al.oracle.class_changes import merge_classes

    points = merge_classes(asked.folder, asked.source, asked.target)
    changed = f"{_plural(len(points), 'label')} of {asked.source} became {asked.target}"
    print(f"{asked.folder}: {changed}. {asked.source} stays in the list of classes. {_how_on(asked.folder)}")


def _class_names(folder: Path) -> list[str]:
    from lightning_al.run.journal import Journal
    from lightning_al.task.class_names import Classes

    return list(Classes.from_dict((Journal.read(folder).header or {}).get("classes")).names.values())


def _listed(folder: Path) -> str:
    return ", ".join(_class_names(folder))


def _how_with_classes(folder: Path) -> str:
    from lightning_al.run.run_command import run_command

    return (
        f"Start the run again: by `{run_command(folder)}`, or a program with `classes={_class_names(folder)!r}` "
        "and a model of as many outputs."
    )


def _how_on(folder: Path) -> str:
    return f"Start the run again on {folder}: the next fit uses the new labels."


def _read(text: str, rules: LabelRules) -> Label:
    """Return the label given by a text on the command line, or the answer ``unusable: REASON`` or ``other: TEXT``."""
    from lightning_al.oracle.answers import plain_label
    from lightning_al.oracle.set_aside import Other, Unusable
    from lightning_al.task.class_texts import ClassTexts

    if rules.kind == "text":
        return plain_label(text, rules)
    classes = ClassTexts(rules.classes.numbers.items())
    found = classes.of(text) if rules.may_be_class else set()
    if len(found) == 1:
        return plain_label(found.pop(), rules)
    kind, _, rest = (part.strip() for part in text.partition(":"))
    if kind == "unusable":
        return Unusable(rest).to_plain()
    if kind == "other" and rest:
        return Other(rest).to_plain()
    try:
        label = json.loads(text)
    except ValueError:
        label = text
    if isinstance(label, int | float) and rules.may_be_class and classes.has_numbers:
        label = text  # no name, and a class number would be taken for one
    return None if label is None else plain_label(label, rules)


def _export(asked: argparse.Namespace) -> None:
    import pandas as pd

    from lightning_al.cli.out_file import check_out
    from lightning_al.data.label_table import COLUMNS, FURTHER
    from lightning_al.report.frames import print_table, write_table
    from lightning_al.run.journal import Journal

    if asked.out is not None:
        check_out(asked.out)
    table = pd.DataFrame(_rows(Journal.read(asked.folder), asked.folder), columns=[*COLUMNS, *FURTHER], dtype=object)
    if asked.out is None:
        print_table(table, sys.stdout)
        return
    write_table(table, asked.out)
    print(f"{asked.out}: {_plural(len(table), 'label')} of {asked.folder}")


def _rows(records: Records, folder: Path) -> Iterator[dict[str, Any]]:
    from lightning_al.data.label_table import label_rows
    from lightning_al.run.keys_file import load_keys
    from lightning_al.task.class_names import Classes

    keys = load_keys(folder)
    classes = Classes.from_dict((records.header or {}).get("classes"))
    return label_rows(records, key_of=lambda index: keys[index] if keys else index, classes=classes)


def _repair(asked: argparse.Namespace) -> None:
    from lightning_al.run.journal import Journal

    for folder in asked.folder:
        good = Journal.salvage(folder)
        upto = f"up to round {good - 1}" if good else "to its header, before the first round"
        print(f"{folder}: the journal is good {upto}. Start the run again on it.")


def _plural(number: int, one: str, several: str | None = None) -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def _in_a_line(error: Exception) -> str:
    from lightning_al.run.printable import printable

    said = str(error)
    if not isinstance(error, RuntimeError | ValueError | OSError):
        said = f"The journal holds what no run writes ({type(error).__name__}: {error}). Put back a copy of it."
    return str(printable(" ".join(said.split()), most=2_000))


if __name__ == "__main__":
    sys.exit(main())
