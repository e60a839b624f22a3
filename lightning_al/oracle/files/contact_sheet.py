"""The contact sheet of a query: one HTML page that holds all it shows, and asks the network for nothing."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lightning_al.oracle.files.points import key_text
from lightning_al.oracle.files.shown_item import ShownItem, shown_item, with_file
from lightning_al.oracle.query import Query
from lightning_al.values.folding import folded
from lightning_al.values.spreadsheets import harmless

MOST_SHOWN = 1000
"""The most points that a sheet shows. The CSV file has all."""

MOST_BUTTONS = 12
"""Up to so many classes have a button each. More are chosen by typing."""


@dataclass(frozen=True)
class Tile:
    """A point on the sheet.

    Attributes:
        index: Its index.
        key: Its key as text, or None where that is the index.
        cell: Its key as the CSV file has it.
        item: What is shown of its item.
        suggestion: What the model believes, or None.
    """

    index: int
    key: str | None
    cell: str
    item: ShownItem
    suggestion: str | None


def contact_sheet(query: Query, *, file: str, title: str, suggestions: bool) -> str:
    """Return the page; all text in it is escaped.

    Args:
        query: The query.
        file: Name of the CSV file that its button saves.
        title: Its title.
        suggestions: Whether to show what the model believes.
    """
    environment = Environment(
        loader=PackageLoader("lightning_al.oracle.files", ""), autoescape=True, undefined=StrictUndefined
    )
    assert environment.loader is not None
    style, script = (environment.loader.get_source(environment, f"sheet.{kind}")[0] for kind in ("css", "js"))
    names = [name for _, name in sorted(query.classes.items())]
    tiles = _tiles(query, suggestions)
    return environment.get_template("sheet.html").render(
        title=title,
        file=file,
        tiles=tiles,
        left_out=len(query) - len(tiles),
        classes=classes_mark(query.classes),
        datalist=_datalist(names),
        buttons=_buttons(names),
        about=sha256(repr([(tile.index, tile.cell) for tile in tiles]).encode()).hexdigest()[:16],
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def classes_mark(classes: Mapping[int, str]) -> str:
    """Return what a page says at its beginning of the classes that it was written with."""
    return sha256(repr(sorted(classes.items())).encode()).hexdigest()[:16]


def with_classes(page: str, classes: Mapping[int, str]) -> str:
    """Return a page with other classes, and all else as it was, so that a browser finds the answers that it keeps."""
    names = [name for _, name in sorted(classes.items())]
    page = re.sub(r'(<meta name="classes" content=")\w*', rf"\g<1>{classes_mark(classes)}", page, count=1)
    page = re.sub(r'<datalist id="classes">.*?</datalist>', lambda _: _datalist(names), page, count=1, flags=re.DOTALL)
    return re.sub(r'<div class="buttons">.*?</div>', lambda _: _buttons(names), page, flags=re.DOTALL)


def _datalist(names: Sequence[str]) -> Markup:
    options = [Markup('<option value="{}"></option>').format(name) for name in (*names, *_asides(names))]
    return Markup('<datalist id="classes">{}</datalist>').format(Markup("").join(options))


def _buttons(names: Sequence[str]) -> Markup:
    """Return the buttons of an item, none where there are too many classes."""
    button = Markup('<button type="button"{} value="{}">{}</button>')
    shown = [button.format("", name, name) for name in names]
    shown += [button.format(Markup(' class="aside"'), name, name) for name in _asides(names)]
    return Markup('<div class="buttons">{}</div>').format(Markup("").join(shown if len(names) <= MOST_BUTTONS else []))


def _asides(names: Sequence[str]) -> list[str]:
    taken = {folded(name).casefold() for name in names}
    return [word for word in ("skip", "unusable", "other") if word not in taken]


def _tiles(query: Query, suggestions: bool) -> list[Tile]:
    believed: Sequence[Mapping[str, Any]] = query.to_frame().to_dict("records") if suggestions else ()
    tiles = []
    for place, (index, key) in enumerate(zip(query.indices[:MOST_SHOWN], query.keys, strict=False)):
        text = key_text(key)
        item = shown_item(partial(query.items.__getitem__, place)) if place < len(query.items) else ShownItem()
        if place < len(query.paths) and (path := query.paths[place]) is not None:
            item = with_file(item, path)
        suggestion = _suggestion(believed[place]) if believed else None
        tiles.append(Tile(index, None if folded(text) == str(index) else text, harmless(text), item, suggestion))
    return tiles


def _suggestion(row: Mapping[str, Any]) -> str | None:
    predicted, probability = row["predicted"], row["probability"]
    return None if probability is None or probability != probability else f"{predicted}, {probability:.0%}"


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()
