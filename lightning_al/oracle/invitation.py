"""Say where people answer, also where Lightning's own notes are silenced."""

from __future__ import annotations

import logging

from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_al.host.namespace import NAMESPACE

_LOGGER = logging.getLogger(f"{NAMESPACE}.lightning_al")
# The handlers are Lightning's. The level is not: the command line silences Lightning, but people need the address.
_LOGGER.setLevel(logging.INFO)


@rank_zero_only
def invite(text: str) -> None:
    """Say where people answer, on the first rank.

    Args:
        text: A sentence with the address.
    """
    _LOGGER.info(text)
