"""The file that a command is told to write a table to."""

from __future__ import annotations

from pathlib import Path


def check_out(out: Path) -> None:
    """Check that a table does not replace a file of a run, or a device such as /dev/null, which root can remove.

    Raises:
        ValueError: If it does.
    """
    from lightning_al.run.files import kind_of
    from lightning_al.run.folder import LABELS, OF_COMMAND, OF_JOURNAL, OF_LOCK

    kind = kind_of(out)
    if kind not in (None, "a link"):
        raise ValueError(f"--out {out} is {kind}. Name a file, or leave it out.")
    if out.name != LABELS and any(names.fullmatch(out.name) for names in (OF_COMMAND, OF_JOURNAL, OF_LOCK)):
        raise ValueError(f"--out {out} has the name of a file that a run keeps in its folder. Choose another name.")
