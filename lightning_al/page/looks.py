"""How points and classes look in a browser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_al.page.pictures import SMALL, size_of
from lightning_al.page.published import Published
from lightning_al.page.requests import points_in


class Looks:
    """Describe points and classes to browsers, by what the fit wrote of them.

    Args:
        published: What the fit says.
    """

    def __init__(self, published: Published) -> None:
        self._published = published

    def item(self, point: int, plain: Mapping[str, Any], *, earlier: bool) -> dict[str, Any] | None:
        """Return what a browser shows of a point, or None if the fit has not written it yet.

        Args:
            point: The point.
            plain: What the fit published last.
            earlier: Whether the point is of an earlier query.
        """
        item = self._published.item(point)
        if item is None:
            return None
        pictures, fault = [], item.get("fault")
        for number in range(len(item.get("pictures", ()))):
            try:
                width, height = self._size(item, point, number)
            except Exception as error:  # whatever decoders raise
                fault = fault or f"Its picture cannot be read: {type(error).__name__}"
                continue
            small = max(width, height) <= SMALL
            url = f"api/picture/{point}/{number}"
            pictures.append({"url": url, "width": width, "height": height, "small": small})
        suggestion = (plain.get("suggestions") or {}).get(str(point))
        return {
            "point": point,
            "key": item.get("key", str(point)),
            "pictures": pictures,
            "texts": item.get("texts", []),
            "rows": item.get("rows", []),
            "fault": fault,
            "earlier": earlier,
            "suggestion": suggestion,
            "grid": suggestion is not None,
        }

    def _size(self, item: dict[str, Any], point: int, number: int) -> tuple[int, int]:
        """Return the size of a picture, which is read once."""
        sizes = item.setdefault("sizes", {})
        if number not in sizes:
            with self._published.open_picture(point, number) as file:
                sizes[number] = size_of(file)
        width, height = sizes[number]
        return width, height

    def class_(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a browser shows of a class."""
        examples = []
        for point in points_in(plain.get("examples")):
            item = self._published.item(point)
            if item is not None and item.get("pictures"):
                examples.append({"point": point, "url": f"api/picture/{point}/0"})
        return {**plain, "examples": examples}
