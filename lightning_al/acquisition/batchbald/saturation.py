"""Whether a batch has enough posterior samples: whether another draw of them would select many of the same points.

Measured by ``python -m tests.benchmarks.agreement`` on a small network with dropout (scikit-learn's digits, 1,300
points, 10 to 60 labels): the share of b picks that two independent draws of K posterior samples have in common, and the
share of log K that these picks use.

===  =========  =========  =========  =========
K    b = 5      b = 10     b = 20     b = 50
===  =========  =========  =========  =========
10   .07, .88   .19, .98   .23, 1.0   .27, 1.0
20   .20, .79   .27, .95   .31, .99   .28, 1.0
50   .31, .68   .43, .90   .46, .98   .44, 1.0
100  .42, .61   .51, .85   .62, .97   .55, 1.0
200  .53, .54   .68, .80   .72, .95   .66, 1.0
===  =========  =========  =========  =========

The agreement grows with K, and hardly depends on b or on the share used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ENOUGH_SAMPLES = 50
"""The fewest posterior samples measured with which two draws have a third of a batch of 10 or more in common."""

SATURATED = 0.95
"""The share of log K above which the last picks of a batch have almost no gain left to differ by."""


def too_few_samples(num_samples: int, information: Sequence[float]) -> str | None:
    """Return a warning if a batch uses up the information of K samples, so another draw would select other points.

    Args:
        num_samples: Number of posterior samples K.
        information: Joint mutual information in nats of the labels with the weights, after each pick.

    Returns:
        A warning, or None: always with `ENOUGH_SAMPLES` or more, and if less than `SATURATED` of log K is used.

    >>> too_few_samples(20, [1.5, 2.0]) is None, too_few_samples(50, [3.0, 3.9]) is None
    (True, True)
    >>> too_few_samples(20, [2.2, 2.9])[:52]
    '20 posterior samples are few for a batch of 2 points'
    """
    capacity = math.log(num_samples)
    if num_samples >= ENOUGH_SAMPLES or not information or information[-1] < SATURATED * capacity:
        return None
    return (
        f"{num_samples} posterior samples are few for a batch of {len(information)} points. They can tell at most log "
        f"K = {capacity:.2f} nats, of which the batch uses up {information[-1] / capacity:.0%}, and another "
        f"{num_samples} samples would likely choose a third of them again, or fewer. Raise `num_samples` of the "
        f"posterior to {ENOUGH_SAMPLES}."
    )
