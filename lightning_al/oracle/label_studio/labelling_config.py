"""The labelling configuration of a project: what a task shows, and what people answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from lightning_al.values.errors import first_few
from lightning_al.values.whole_numbers import shown

UNUSABLE, OTHER, NOTE = "unusable", "other", "note"
"""The two choices beside the classes, and the name of the field for the reason or the class."""

MOST_BUTTONS = 30
"""Up to so many classes are shown as buttons. More are chosen from a list with a search."""

OBJECTS = ("Image", "Text", "HyperText", "Paragraphs", "Table", "Header")
"""The tags that can show a part of an item."""


@dataclass(frozen=True)
class Parts:
    """What the items of a query consist of.

    Attributes:
        pictures: The most images of an item.
        text: Whether any item has a text.
        table: Whether any item has named values.
    """

    pictures: int = 0
    text: bool = False
    table: bool = False


@dataclass(frozen=True)
class Labelling:
    """What a configuration shows, and where people answer.

    Attributes:
        objects: Tag and variable of each part that is shown.
        control: Name of the field for the answer.
        shows: Name of what the answer is about.
        kind: What the field is: choices, or a text.
        choices: The class that each choice stands for, by what an annotation says.
    """

    objects: Sequence[tuple[str, str]]
    control: str
    shows: str
    kind: str
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> set[str]:
        """The names that the data of a task must have."""
        return {variable for _, variable in self.objects}


def labelling_config(parts: Parts, classes: Mapping[int, str]) -> str:
    """Return a configuration as XML.

    People choose one class, or `unusable` or `other`, for which there is a note. Without classes they write the label.
    The answer stands above the item, which may be larger than the window.

    Args:
        parts: What is shown.
        classes: The names of the classes by their numbers.

    >>> labelling_config(Parts(text=True), {})
    '<View><TextArea name="label" toName="text" maxSubmissions="1" required="true" placeholder="The label" />\
<Text name="text" value="$text" /></View>'
    """
    view = ElementTree.Element("View")
    names = ["image", *(f"image_{number}" for number in range(2, parts.pictures + 1))][: parts.pictures]
    for name in names:
        _add(view, "Image", name=name, value=f"${name}", zoom="true", zoomControl="true")
    if parts.table:
        _add(view, "Table", name="table", value="$table")
    if parts.text or not (names or parts.table):
        _add(view, "Text", name="text", value="$text")
    about = view[0].attrib["name"]
    once = {"maxSubmissions": "1"}
    if not classes:
        label = _add(view, "TextArea", name="label", toName=about, **once, required="true", placeholder="The label")
        _put_first(view, label)
        return ElementTree.tostring(view, encoding="unicode")
    look = {"showInline": "true"} if len(classes) <= MOST_BUTTONS else {"layout": "select"}
    control = _add(view, "Choices", name="label", toName=about, choice="single", required="true", **look)
    taken = {name.strip().casefold() for name in classes.values()}
    for name in [*classes.values(), *(word for word in (UNUSABLE, OTHER) if word not in taken)]:
        _add(control, "Choice", value=_written(name))
    _put_first(view, control)
    hint = f"Why it is {UNUSABLE}, or which {OTHER} class it is"
    _add(view, "TextArea", name=NOTE, toName=about, **once, rows="1", placeholder=hint)
    return ElementTree.tostring(view, encoding="unicode")


def labelling_in(config: str, classes: Mapping[int, str]) -> Labelling:
    """Return what a project's configuration shows, and in which of its fields people answer.

    Args:
        config: The configuration as XML.
        classes: The names of the classes by their numbers.

    Raises:
        ValueError: If it has no field for the classes.

    >>> labelling_in(labelling_config(Parts(1), {0: "cat"}), {0: "cat"}).choices
    {'cat': 'cat', 'unusable': 'unusable', 'other': 'other'}
    """
    try:
        tags = list(ElementTree.fromstring(config).iter())
    except ElementTree.ParseError as error:
        raise ValueError(
            f"`LabelStudio` cannot read the labelling configuration of the project ({error}). Correct it there."
        ) from error
    objects = [
        (tag.tag, value[1:])
        for tag in tags
        if tag.tag in OBJECTS and (value := tag.attrib.get("value", "")).startswith("$")
    ]
    missing = list(classes.values())
    for tag in tags:
        name, about = tag.attrib.get("name"), tag.attrib.get("toName", "")
        if not name or (tag.tag != "Choices" if classes else tag.tag not in ("TextArea", "Number")):
            continue
        choices = _choices(tag, classes)
        lacking = [known for known in classes.values() if known not in choices.values()]
        if not lacking and name != NOTE:
            return Labelling(objects, name, about, tag.tag.lower(), choices)
        missing = min(missing, lacking, key=len)
    if not classes:
        raise ValueError(
            "The project in Label Studio has no field in which a label can be written. Add a `TextArea` or a `Number` "
            "to its labelling configuration."
        )
    lacks = first_few(list(map(shown, missing)))
    raise ValueError(
        f"The project in Label Studio has no `Choices` with all classes of the run: {lacks} are missing. Add them "
        "to its labelling configuration, or leave `project` out."
    )


def parts_in(config: str) -> Parts:
    """Return the parts that a configuration of ours shows.

    >>> parts_in(labelling_config(Parts(2, table=True), {0: "cat"}))
    Parts(pictures=2, text=False, table=True)
    """
    tags = re.findall(r"<(Image|Text|Table) ", config)
    return Parts(tags.count("Image"), "Text" in tags, "Table" in tags)


def _choices(tag: ElementTree.Element, classes: Mapping[int, str]) -> dict[str, str]:
    """Return the class, or another word, that each choice stands for, by what an annotation says."""
    names = {_written(name): name for name in classes.values()} | {name: name for name in classes.values()}
    said = [choice.attrib.get("alias") or choice.attrib.get("value", "") for choice in tag.iter("Choice")]
    return {one: names.get(one, one) for one in said}


def _written(name: str) -> str:
    """Return the name of a class as a choice has it: a dollar sign would be looked up in the data."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", name).replace("$", "\uff04")


def _put_first(view: ElementTree.Element, tag: ElementTree.Element) -> None:
    view.remove(tag)
    view.insert(0, tag)


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)
