"""Pictures in eight bits a channel, which every browser shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def in_eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture as grey, RGB or RGBA with eight bits a channel.

    Grey values of more bits are scaled from the least in black to the greatest in white.

    >>> in_eight_bits(Image.new("P", (2, 2))).mode, in_eight_bits(Image.new("I;16", (2, 2), 700)).mode
    ('RGB', 'L')
    """
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    if image.mode[0] not in "IF":
        return image.convert("RGBA" if "transparency" in image.info or image.mode in ("LA", "PA") else "RGB")
    return Image.fromarray(as_bytes(np.asarray(image)))


def as_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an image as bytes. Values outside 0 to 1 are scaled from the least in black to the greatest in white."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    values = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / max(high - low, 1e-12)
    shades: np.ndarray[Any, Any] = np.round(255 * values).astype(np.uint8)
    return shades
