"""The threshold above which a prediction is taken as a label to train on."""

from __future__ import annotations

from typing import Any

from lightning_al.values.whole_numbers import plain, shown


def read_threshold(given: Any) -> float | None:
    """Return the least probability of a prediction that is trained on, or None.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not above 0 and at most 1.

    >>> read_threshold(0.95), read_threshold(None)
    (0.95, None)
    """
    number = plain(given)
    if number is None:
        return None
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not 0 < number <= 1:
        kind: type[Exception] = ValueError if is_number else TypeError
        raise kind(
            "`ActiveDataModule(pseudo_labels=...)` expected the least probability of a prediction to train on, above 0 "
            f"and at most 1, but got {shown(given)}. Pass a number such as 0.95, or leave it out."
        )
    return float(number)
