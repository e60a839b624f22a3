"""Label Studio, in which people answer queries in a browser."""

from lightning_al.oracle.label_studio.oracle import LabelStudio

__all__ = ["LabelStudio"]
