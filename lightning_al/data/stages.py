"""The stages of a wrapped datamodule: set up once, and kept set up while the rounds of a run follow each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning_al.data.attributes import Attributes
from lightning_al.host.namespace import pl


class Stages:
    """Set up and tear down a datamodule, and remember which attributes its `setup` made for each stage.

    Args:
        wrapped: The user's datamodule.
    """

    def __init__(self, wrapped: pl.LightningDataModule) -> None:
        self.wrapped = wrapped
        self._made: dict[str, Attributes] = {}
        self._is_held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the datamodule set up: in this context `prepare_data` and `teardown` do nothing."""
        before, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = before

    def prepare_data(self) -> None:
        """Call the datamodule's `prepare_data`, unless it is held."""
        if not self._is_held:
            self.wrapped.prepare_data()

    def restore(self, stage: str) -> bool:
        """Put back what `setup` made for a stage, where the datamodule is held, and return whether there was any."""
        is_known = self._is_held and stage in self._made
        if is_known:
            self._made[stage].put_back()
        return is_known

    def setup(self, stage: str) -> None:
        """Call the datamodule's `setup`."""
        before = Attributes(self.wrapped)
        self.wrapped.setup(stage)
        self._made[stage] = before.changed()

    def teardown(self, stage: str) -> None:
        """Call the datamodule's `teardown` for each stage that was set up, with what its `setup` made."""
        if self._is_held:
            return
        self._made.setdefault(stage, Attributes(self.wrapped).changed())
        before = Attributes(self.wrapped)
        for done, made in sorted(self._made.items()):
            # Two stages may share what one of them removes.
            before.put_back_lost()
            made.put_back()
            self.wrapped.teardown(done)
        self._made.clear()
