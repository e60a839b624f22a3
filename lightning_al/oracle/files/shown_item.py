"""What a contact sheet shows of an item: a small picture, a text, or the rows of a table."""

from __future__ import annotations

import dataclasses
import io
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from lightning_al.data.image_folder import ENDINGS
from lightning_al.task.labels import as_array
from lightning_al.values.errors import said_shortly
from lightning_al.values.parts import is_image, is_pandas, names
from lightning_al.values.shades import as_bytes, in_eight_bits

LONGER_SIDE = 512
"""The most pixels of a side of a picture on a contact sheet."""

SMALL = 64
"""A picture with no more pixels a side is kept without loss, and enlarged."""

MOST_CHARACTERS = 20_000

MOST_ROWS = 60

TARGETS = frozenset({"label", "labels", "target", "targets", "y"})
"""Names of the parts that hold labels, which an item without a label makes up."""


@dataclass(frozen=True)
class ShownItem:
    """What is shown of an item.

    Attributes:
        pictures: Its images, each as a URL that holds the image itself, and whether it is small.
        texts: Its texts.
        rows: Names and values of its other parts.
        fault: Why it cannot be shown, or None.
    """

    pictures: list[tuple[str, bool]] = dataclasses.field(default_factory=list)
    texts: list[str] = dataclasses.field(default_factory=list)
    rows: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    fault: str | None = None


def shown_item(read: Callable[[], Any], keep: Callable[[Image.Image], tuple[str, bool]] | None = None) -> ShownItem:
    """Return what people are shown of an item. Of a tuple it is the first part, since the second is a label.

    Args:
        read: Reads the item: an image of PIL, an image as a tensor or array ``[H, W]``, ``[C, H, W]`` or ``[H, W, C]``
            with 1, 3 or 4 channels, a text, several numbers, a mapping, a row of a table, or a tuple.
        keep: Keeps an image, and returns its URL and whether it is small. By default the URL holds an image for a
            contact sheet.

    >>> shown_item(lambda: ("a good film", 0)).texts, shown_item(lambda: {"age": 41, "label": 0}).rows
    (['a good film'], [('age', '41')])
    """
    shown = ShownItem()
    try:
        for name, value in _parts(read()):
            image = as_image(value)
            if image is not None:
                shown.pictures.append((keep or held_address)(image))
            elif isinstance(value, str) and not name:
                shown.texts.append(_cut(value))
            elif len(shown.rows) < MOST_ROWS:
                shown.rows.append((_cut(name), _in_words(value)))
    except Exception as error:  # whatever a dataset or a type may raise; the point can still be answered
        return ShownItem(fault=said_shortly(error))
    return shown


def with_file(item: ShownItem, path: Path, longer_side: int = LONGER_SIDE) -> ShownItem:
    """Return what is shown of an item with its file in place of its one image, which may be a part of that.

    An item of several images, or whose file is no image, is shown as it is.

    Args:
        item: What is shown of the item itself.
        path: Its file.
        longer_side: The most pixels of a side of the picture.
    """
    if len(item.pictures) > 1 or path.suffix.lower() not in ENDINGS:
        return item
    with suppress(Exception), Image.open(path) as image:  # whatever decoders raise; the item itself is shown then
        image.draft(None, (longer_side, longer_side))  # a JPEG file is decoded at a fraction of its size
        if pictures := shown_item(lambda: image, partial(held_address, longer_side=longer_side)).pictures:
            return dataclasses.replace(item, pictures=pictures, fault=None)
    return item


def _parts(item: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of an item's parts; one part without a name is the whole."""
    named: Any = None
    if isinstance(item, tuple) and names(item):
        named = dict(zip(names(item), item, strict=True))
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        named = vars(item)
    elif isinstance(item, Mapping) or (is_pandas(item) and item.ndim == 1):
        named = item
    elif isinstance(item, tuple) and item:
        yield from _parts(item[0])
        return
    if named is not None:
        yield from ((str(name), value) for name, value in named.items() if name not in TARGETS)
        return
    array = None if isinstance(item, str) or is_image(item) else as_array(item)
    if array is not None and array.ndim == 1:
        yield from ((str(place), number) for place, number in enumerate(array[:MOST_ROWS].tolist()))
    else:
        yield "", item


def as_image(value: Any) -> Image.Image | None:
    """Return what is an image as one of PIL with eight bits a channel, the right way up, or None."""
    if isinstance(value, Image.Image):
        return in_eight_bits(ImageOps.exif_transpose(value))
    array = as_array(value) if isinstance(value, np.ndarray | Tensor) else None
    if array is not None and array.ndim == 3 and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array is None or array.dtype.kind not in "buif" or 0 in array.shape:
        return None
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)):
        return Image.fromarray(as_bytes(array))
    return None


def held_address(image: Image.Image, longer_side: int = LONGER_SIDE) -> tuple[str, bool]:
    """Return an image as a URL, and whether it is small."""
    is_small = max(image.size) <= SMALL
    image = image.copy()
    image.thumbnail((longer_side, longer_side))
    kind = "png" if is_small or image.mode == "RGBA" else "jpeg"
    image.info = {}  # where it was taken is nobody's business
    file = io.BytesIO()
    image.save(file, kind, quality=85)
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}", is_small


def _in_words(value: Any) -> str:
    if isinstance(value, str):
        return _cut(value)
    array = as_array(value)
    if array is None or array.ndim == 0:
        value = value if array is None else array.item()
        plain = value is None or isinstance(value, bool | int | float)
        return f"{value:.6g}" if isinstance(value, float) else str(value) if plain else _cut(str(value))
    if array.size <= 12:
        return str(np.round(array.astype(np.float64), 4).tolist())
    return f"{' x '.join(map(str, array.shape))} numbers"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."
