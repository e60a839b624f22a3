"""A page in the browser on which people answer, while the model trains beside it."""

from lightning_al.oracle.page.oracle import Page

__all__ = ["Page"]
