"""A picture of the images that a run queried."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from lightning_al.report.drawing import LITERAL, new_figure

MOST_ROWS, MOST_COLUMNS = 60, 40


@matplotlib.rc_context(LITERAL)
def asked_picture(
    rounds: Sequence[Sequence[Tensor]],
    labels: Sequence[Sequence[object]],
    headings: Sequence[str],
    *,
    title: str,
) -> Figure:
    """Draw the images queried: one row a round, in the order of choice, each with its label below.

    A row shows its first 40 images, and the picture shows the first 60 rows. If there are more, a note below says so.

    Args:
        rounds: Images ``[H, W]``, ``[1, H, W]`` or ``[3, H, W]`` of each round. Each is scaled from its least value in
            black to its greatest in white.
        labels: The label of each image, or None if it is not known.
        headings: Text to the left of each row.
        title: Title of the picture.
    """
    rows = [(list(images)[:MOST_COLUMNS], heading) for images, heading in zip(rounds, headings, strict=True)][
        :MOST_ROWS
    ]
    hidden = len(rounds) > MOST_ROWS or any(len(images) > MOST_COLUMNS for images in rounds)
    columns = max([8, *(len(images) for images, _ in rows)])
    # An image with its label is a square of side 1; the margins hold title, headings and the note below.
    left, right, top, bottom, inch = 2.2, 0.2, 0.7, 0.6 if hidden else 0.15, 0.58
    width, height = left + columns + right, top + len(rows) + bottom
    figure = new_figure(width * inch, height * inch, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for row, (images, heading) in enumerate(rows):
        axes.text(-0.2, row + 0.4, heading, ha="right", va="center", fontsize=8)
        for column, (image, label) in enumerate(zip(images, labels[row], strict=False)):
            box = (column, column + 0.8, row + 0.8, row)
            axes.imshow(_shown(image), cmap="gray", vmin=0, vmax=1, extent=box, interpolation="nearest")
            if label is not None:
                axes.text(column + 0.4, row + 0.82, str(label), ha="center", va="top", fontsize=6, color="#444444")
    axes.text(0, -0.25, title, fontsize=10, va="bottom")
    if hidden:
        note = f"Shown are the first {MOST_COLUMNS} images of a round, and the first {MOST_ROWS} rounds."
        axes.text(0, len(rows) + 0.15, note, fontsize=7, va="top")
    axes.set_xlim(-left, columns + right)
    axes.set_ylim(len(rows) + bottom, -top)
    return figure


def _shown(image: Tensor) -> NDArray[np.float32]:
    image = image.detach().float().cpu()
    if image.dim() == 3:
        image = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    low, high = image.min(), image.max()
    scaled: NDArray[np.float32] = ((image - low) / (high - low) if high > low else image - low).numpy()
    return scaled
