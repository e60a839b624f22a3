"""Files in which people write their answers: a CSV file and a contact sheet for each query."""

from lightning_al.oracle.files.oracle import Files

__all__ = ["Files"]
