"""Errors that are shown in one line, without a traceback."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException, InstantiationException
from hydra.utils import get_object
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from lightning_al.cli.job import is_cell
from lightning_al.cli.references import dotted, values
from lightning_al.cli.secrets import without_secrets
from lightning_al.run.printable import printable

MOST = 5_000
"""The most characters of an error."""


def is_own_error(error: BaseException) -> bool:
    """Return whether lightning_al itself raised an error, and not code that it called.

    For an error raised from another one, that other one decides.

    >>> import json
    >>> try:
    ...     json.loads("seven")
    ... except ValueError as found:
    ...     is_own_error(found)
    False
    """
    while error.__cause__ is not None:
        error = error.__cause__
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__")).startswith("lightning_al.")


@contextmanager
def of_settings(settings: Any, folder: Path, *, resumes: bool = True) -> Iterator[None]:
    """Say in one line why a run cannot start or resume with its settings, whatever Lightning or torch raises.

    Args:
        settings: The settings with all references resolved. Their classes are on the allow list.
        folder: The run's folder.
        resumes: Whether the settings are those stored in the folder.

    Raises:
        CompactHydraException: In place of other errors.
    """
    try:
        yield
    except (CompactHydraException, OmegaConfBaseException, OSError):
        raise
    except Exception as found:
        if isinstance(found, ValueError | TypeError | RuntimeError) and is_own_error(found):
            raise
        part = _at_fault(found, settings)
        where = f"its `{part}`" if part else "its settings"
        said = f"{type(found).__name__}: {' '.join(str(found).split())}".rstrip(":. ")
        if not resumes:
            raise CompactHydraException(
                f"lightning-al: the run fails with {where}. {said}. Check what they are set to; HYDRA_FULL_ERROR=1 "
                "shows the traceback."
            ) from found
        raise CompactHydraException(
            f"lightning-al: the run in {folder} cannot resume with {where}. {said}. Compare its "
            "config.yaml with a copy from before, or choose another folder."
        ) from found


def _at_fault(error: BaseException, settings: Any) -> str:
    """Return the setting of the innermost object in an error's traceback, or an empty string."""
    made = {}
    for key_path, target in values(settings):
        if key_path[-1] == "_target_":
            with suppress(Exception):  # a class that cannot be found was not made
                made[get_object(target)] = dotted(key_path[:-1])
    within = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((made[type(one)] for one in reversed(within) if type(one) in made), "")


def of_a_command(said: str) -> str:
    """Return what an error says to somebody who gives commands and does not see the program.

    >>> of_a_command("Correct these lines, save the file and call `trainer.fit` again.")
    'Correct these lines, save the file and run the command again.'
    """
    return re.sub(r"\b([Cc])all `trainer\.fit` again", lambda found: f"{_RUN[found[1]]} the command again", said)


_RUN = {"C": "Run", "c": "run"}


@contextmanager
def ending_by_the_line() -> Iterator[None]:
    """End the process with the line of an error of this command alone, without what Hydra writes around it.

    The environment variable HYDRA_FULL_ERROR=1 keeps the traceback, which Hydra shows.

    Raises:
        SystemExit: With code 1, in place of such an error.
    """
    try:
        yield
    except CompactHydraException as found:
        if is_cell() or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.stderr.write(f"{found}\n")
        raise SystemExit(1) from found


@contextmanager
def in_one_line(folder: Path) -> Iterator[None]:
    """Let Hydra show errors of lightning_al, and of files in the run's folder, without a traceback.

    Raises:
        CompactHydraException: In place of such an error.
    """
    try:
        yield
    except InstantiationException as found:
        line = printable(without_secrets(" ".join(_said_of_making(found).split())), most=MOST)
        raise CompactHydraException(line) from found
    except CompactHydraException as found:
        line = printable(without_secrets(" ".join(str(found).split())), most=MOST)
        raise CompactHydraException(line) from found
    except MissingMandatoryValue as found:
        # `pool` and `active` refer to the groups of the command line.
        key = str(found.full_key).removeprefix("pool.").removeprefix("active.")
        raise CompactHydraException(f"lightning-al: `{key}` has no value yet. Give one, as in {key}=VALUE.") from None
    except OmegaConfBaseException as found:
        said = without_secrets(" ".join(str(found).split()))
        raise CompactHydraException(
            f"lightning-al: {printable(said, most=MOST)}. Check what the settings refer to, and their types."
        ) from None
    except OSError as found:
        path = found.filename if isinstance(found.filename, str | os.PathLike) else None
        if path is None and is_own_error(found):  # such as of a server that refuses a token
            error = _said_by_us(found)
            raise CompactHydraException(f"lightning-al: {error}") from found
        if path is None or not Path(path).absolute().is_relative_to(folder):
            raise
        raise CompactHydraException(
            f"lightning-al: {printable(path, most=MOST)} cannot be read or written: {found.strerror}. Make it readable "
            "and writable, or remove it where no run put it there."
        ) from found
    except (ValueError, TypeError, RuntimeError, ImportError) as found:
        if not is_own_error(found):
            raise
        error = _said_by_us(found)
        raise CompactHydraException(f"lightning-al: {error}") from found


def _said_of_making(error: InstantiationException) -> str:
    """Return why an object of the configuration cannot be made, without Hydra's words around it."""
    cause = error.__cause__
    if cause is None:
        return str(error)
    if is_own_error(error) and isinstance(cause, ValueError | TypeError | RuntimeError | ImportError):
        return f"lightning-al: {of_a_command(str(cause))}"
    part = str(error).rpartition("full_key: ")[2]
    said = f"{type(cause).__name__}: {cause}".rstrip(". ")
    remedy = "Install what is missing" if isinstance(cause, ImportError) else "Check its settings"
    return f"lightning-al: `{part}` cannot be made. {said}. {remedy}, or choose another `{part.partition('.')[0]}`."


def _said_by_us(error: Exception) -> str:
    said = of_a_command(" ".join([str(error), *getattr(error, "__notes__", ())]))
    return printable(without_secrets(said), most=MOST)
