"""Say a thing once a run, however many rounds find it."""

from __future__ import annotations

from lightning_al.host.namespace import rank_zero_info, rank_zero_warn


class Once:
    """Say each thing once, known by a name of its own."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def info(self, what: str, message: str) -> None:
        """Inform of a thing, unless that was done before."""
        if what not in self._said:
            rank_zero_info(message)
        self._said.add(what)

    def warn(self, what: str, message: str) -> None:
        """Warn of a thing, unless that was done before."""
        if what not in self._said:
            rank_zero_warn(message)
        self._said.add(what)
