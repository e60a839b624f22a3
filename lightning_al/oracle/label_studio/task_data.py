"""The data of a task: what Label Studio shows of an item, and by what the task is known."""

from __future__ import annotations

import html
import io
import textwrap
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from lightning_al.oracle.files.shown_item import ShownItem
from lightning_al.oracle.label_studio.labelling_config import Labelling, Parts

OURS = "lightning_al"
"""The name in a task's data of what it is known by."""

SIDE_OF_FILE = 2048
"""The most pixels of a side of an image that is uploaded as a file."""

SIDE_IN_DATA = 640
"""The most pixels of a side of an image in the data of a task, which each poll reads."""


def parts_of(items: Iterable[ShownItem]) -> Parts:
    """Return what some items consist of.

    >>> parts_of([ShownItem(texts=["good"]), ShownItem(rows=[("age", "41")])])
    Parts(pictures=0, text=True, table=True)
    """
    items = list(items)
    return Parts(
        max((len(item.pictures) for item in items), default=0),
        any(item.texts for item in items),
        any(item.rows for item in items),
    )


def are_files(labelling: Labelling) -> bool:
    """Return whether images are uploaded as files, which Label Studio takes where nothing else is shown."""
    return len(labelling.variables) == 1 and all(tag == "Image" for tag, _ in labelling.objects)


def picture_file(url: str) -> tuple[str, bytes]:
    r"""Return the ending and the content of a picture in a URL that holds it.

    >>> picture_file("data:image/png;base64,AAAA")
    ('png', b'\x00\x00\x00')
    """
    kind, _, content = url.partition(";base64,")
    return kind.rpartition("/")[2], b64decode(content)


def pictures_of(item: ShownItem, labelling: Labelling) -> list[str]:
    """Return the pictures of an item as URLs, as many as are shown; a card stands for one that it does not have."""
    number = sum(tag == "Image" for tag, _ in labelling.objects)
    pictures = [url for url, _ in item.pictures][:number]
    return pictures + [_card(_fault(item))] * (number - len(pictures))


def data_of(
    item: ShownItem, pictures: Sequence[str], labelling: Labelling, *, key: str, known_by: str
) -> dict[str, Any]:
    """Return the data of a task, with a value for each variable of the configuration.

    Args:
        item: What is shown of the item.
        pictures: The addresses of its pictures.
        labelling: What the project shows.
        key: The item's key as text.
        known_by: What the task is known by.
    """
    left = iter(pictures)
    text = "\n\n".join(item.texts) or ("" if item.pictures or item.rows else _fault(item))
    data: dict[str, Any] = {}
    for tag, variable in labelling.objects:
        match tag:
            case "Image":
                data[variable] = next(left, "")
            case "Table":
                data[variable] = dict(item.rows)
            case "Header":
                data[variable] = key
            case "HyperText":
                data[variable] = html.escape(text)
            case _:
                data[variable] = text
    return {"key": key, **data, OURS: known_by}


def prediction_of(
    probs: Sequence[float] | None, classes: Mapping[int, str], labelling: Labelling, *, round: int
) -> dict[str, Any] | None:
    """Return what the model believes of a point, or None where it is not told, as for audit points.

    Args:
        probs: The probability of each class ``[C]``.
        classes: The names of the classes by their numbers.
        labelling: Where people answer.
        round: Number of the round.
    """
    if not probs or labelling.kind != "choices":
        return None
    best = max(range(len(probs)), key=probs.__getitem__)
    choice = next((said for said, name in labelling.choices.items() if name == classes.get(best)), None)
    if choice is None:
        return None
    value = {"choices": [choice]}
    result = {"from_name": labelling.control, "to_name": labelling.shows, "type": "choices", "value": value}
    return {"model_version": f"round {round}", "score": float(probs[best]), "result": [result]}


def _fault(item: ShownItem) -> str:
    return f"This item cannot be shown{f': {item.fault}' if item.fault else ''}."


def _card(text: str) -> str:
    """Return a picture of a text as a URL."""
    image = Image.new("RGB", (480, 160), "white")
    plain = text.encode("ascii", "replace").decode()
    ImageDraw.Draw(image).text((16, 16), "\n".join(textwrap.wrap(plain, 70)[:8]), fill="black")
    file = io.BytesIO()
    image.save(file, "png")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
