"""The pictures of items in the size that a page shows them, kept in memory for the items that come next."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import BinaryIO

from PIL import Image, ImageOps

from lightning_al.values.shades import in_eight_bits

SMALL = 64
"""A picture with no more pixels a side is served without loss, and the page enlarges it."""

SIDES = (16, 4096)
"""The least and the most pixels of the longer side that a browser may ask for."""

MOST_KEPT = 256 * 2**20
"""Bytes of pictures that are kept."""

_TURNED = {5, 6, 7, 8}
"""Orientations of EXIF that exchange width and height."""

_ORIENTATION = 0x0112

Open = Callable[[], BinaryIO]


@dataclass(frozen=True)
class Picture:
    """A picture as a browser gets it.

    Attributes:
        content: Its bytes.
        kind: Its media type.
    """

    content: bytes
    kind: str


def size_of(opened: BinaryIO) -> tuple[int, int]:
    """Return the width and the height of a picture the right way up. Its pixels are not read."""
    with Image.open(opened) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(_ORIENTATION) in _TURNED else (width, height)


def resized(opened: BinaryIO, side: int) -> Picture:
    """Return a picture with no more than `side` pixels a side, the right way up and without its metadata.

    It is never enlarged. A JPEG file is decoded at a fraction of its size where that is enough.
    """
    with Image.open(opened) as image:
        image.draft(None, (side, side))
        shown: Image.Image = image
        if image.mode not in ("L", "RGB", "RGBA", "CMYK"):  # palettes and many bits cannot be averaged
            shown = in_eight_bits(ImageOps.exif_transpose(image))
        shown.thumbnail((side, side), reducing_gap=2.0)
        shown = in_eight_bits(ImageOps.exif_transpose(shown) if shown is image else shown)
    shown.info = {}  # where it was taken is nobody's business
    is_small = max(shown.size) <= SMALL
    kind = "png" if is_small or shown.mode == "RGBA" else "jpeg"
    file = io.BytesIO()
    shown.save(file, kind, **({"compress_level": 1} if kind == "png" else {"quality": 88}))
    return Picture(file.getvalue(), f"image/{kind}")


class Pictures:
    """Resize pictures in the background, each once, and keep the last ones.

    Args:
        workers: How many are resized at a time.
        most_kept: Bytes of the pictures that are kept.
    """

    def __init__(self, workers: int = 2, most_kept: int = MOST_KEPT) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, int], Future[Picture]] = OrderedDict()
        self._most_kept = most_kept
        self._ready: dict[tuple[str, int], int] = {}

    def __len__(self) -> int:
        """Return how many are ready."""
        return len(self._ready)

    def get(self, name: str, side: int, opened: Open) -> Future[Picture]:
        """Return a picture that is there, or is being resized.

        Args:
            name: What it is kept by.
            side: The most pixels of a side.
            opened: Opens its file.
        """
        key = (name, min(max(side, SIDES[0]), SIDES[1]))
        with self._lock:
            found = self._kept.get(key)
            if found is not None and not (found.done() and found.exception() is not None):
                self._kept.move_to_end(key)
                return found
            made = self._kept[key] = self._pool.submit(self._make, key, opened)
            return made

    def _make(self, key: tuple[str, int], opened: Open) -> Picture:
        with opened() as file:
            picture = resized(file, key[1])
        with self._lock:
            self._ready[key] = len(picture.content)
            oldest = [one for one in self._kept if one in self._ready and one != key]
            while oldest and sum(self._ready.values()) > self._most_kept:
                del self._kept[oldest[0]], self._ready[oldest.pop(0)]
        return picture

    def close(self) -> None:
        """Resize no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
