"""Acquisition functions by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_al.registry import Registry

if TYPE_CHECKING:
    from lightning_al.acquisition.base import Acquisition

acquisitions: Registry[Acquisition] = Registry("acquisition function", group="lightning_al.acquisitions")

register = acquisitions.register
available = acquisitions.available
create = acquisitions.create
