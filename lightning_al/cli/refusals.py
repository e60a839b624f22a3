"""Which errors say all that there is to know, so that no traceback is shown with them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import CompactHydraException
from omegaconf.errors import OmegaConfBaseException

from lightning_al.cli.secrets import without_secrets
from lightning_al.report.printable import printable

MOST = 5_000
"""Characters of a refusal."""


def is_own_refusal(error: BaseException) -> bool:
    """Return whether an error was raised by lightning_al itself, and not by what it called.

    An error that was made of another one, to say more, is where that one came from.

    >>> import json
    >>> try:
    ...     json.loads("seven")
    ... except ValueError as found:
    ...     is_own_refusal(found)
    False
    """
    while error.__cause__ is not None:
        error = error.__cause__
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__")).startswith("lightning_al.")


@contextmanager
def in_one_line(folder: Path) -> Iterator[None]:
    """Let Hydra show what lightning_al refuses, and what the system refuses in the run's folder, without a traceback.

    Raises:
        CompactHydraException: In place of an error that lightning_al raised itself, or that names a file of the folder.
    """
    try:
        yield
    except OmegaConfBaseException as found:
        said = without_secrets(" ".join(str(found).split()))
        raise CompactHydraException(
            f"lightning-al: {printable(said, most=MOST)}. Check what the settings refer to, and their types."
        ) from None
    except OSError as found:
        path = found.filename if isinstance(found.filename, str | os.PathLike) else None
        if path is None or not Path(path).absolute().is_relative_to(folder):
            raise
        raise CompactHydraException(
            f"lightning-al: {printable(path, most=MOST)} cannot be read or written: {found.strerror}. Make it readable "
            "and writable, or remove it where no run put it there."
        ) from found
    except (ValueError, TypeError, RuntimeError) as found:
        if not is_own_refusal(found):
            raise
        error = printable(without_secrets(" ".join([str(found), *getattr(found, "__notes__", ())])), most=MOST)
        raise CompactHydraException(f"lightning-al: {error}") from found
