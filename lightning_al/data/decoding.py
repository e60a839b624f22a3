"""Image files of any kind as tensors of one size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""The modes of PIL for images with 16 bits a pixel."""


def decoded(path: Path, size: int) -> Tensor:
    """Return the central square of an image as bytes ``[3, size, size]``, uint8.

    Grey images get three equal channels, transparent pixels a white background. The orientation in the EXIF data is
    applied. Of an animation, it is the first frame.

    Args:
        path: The file.
        size: Height and width.

    Raises:
        Exception: What PIL raises for files that it cannot read.
        ValueError: If the pixels are floats, whose range is unknown.
    """
    from PIL import Image, ImageOps
    from torchvision.transforms.v2 import functional

    with Image.open(path) as image:
        image.draft(None, (2 * size, 2 * size))  # large JPEG files are decoded at a lower resolution, which is faster
        decoded = image.copy()
        pixels = functional.pil_to_tensor(_as_rgb(ImageOps.exif_transpose(decoded)))
    # Cropping first gives the same pixels as resizing first, and needs no memory for long narrow images.
    square = functional.center_crop(pixels, [min(pixels.shape[1:])] * 2)
    resized: Tensor = functional.resize(square, [size, size], antialias=True)
    return resized


def _as_rgb(image: Image) -> Image:
    from PIL.Image import alpha_composite, fromarray, new

    if image.mode == "F":
        raise ValueError(
            "The pixels are floats, `mode=F`, whose range is not known. Write the image with 8 or 16 bits."
        )
    if image.mode in DEEP:
        shades = np.asarray(image, dtype=np.float64) / 257  # 65535 becomes 255
        image = fromarray(shades.clip(0, 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = alpha_composite(new("RGBA", over.size, "white"), over)
    return image.convert("RGB")
