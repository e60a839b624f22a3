"""Say in one line why Hydra cannot compose the configuration of a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from lightning_al.cli.command_line import is_sweep
from lightning_al.cli.secrets import without_secrets
from lightning_al.cli.unknown_settings import unknown_setting
from lightning_al.run.printable import printable

FULL_ERROR = "HYDRA_FULL_ERROR"
"""Hydra's environment variable: if it is 1, Hydra raises its errors; otherwise it prints them and exits."""


class Composition:
    """Whether Hydra still composes the configuration. Until it has, it raises its errors instead of printing them."""

    def __init__(self) -> None:
        self._before: str | None = None
        self._is_under_way = False

    @contextmanager
    def explained(self, arguments: Sequence[str]) -> Iterator[None]:
        """End the process with one line if the configuration cannot be composed.

        Args:
            arguments: The words after the command's name.

        Raises:
            SystemExit: With code 1, in place of an error of Hydra's.
        """
        # Hydra composes the cells of a sweep later, after this context's errors are its own again.
        if is_sweep(arguments) and (said := unknown_setting(arguments)):
            _end(said)
        self._before, self._is_under_way = os.environ.get(FULL_ERROR), True
        os.environ[FULL_ERROR] = "1"
        try:
            yield
        except Exception as error:
            if not self._is_under_way or self._before == "1":
                raise
            self.end()
            _end(unknown_setting(arguments) or f"{error} {error.__cause__ or ''}", error)
        finally:
            self.end()

    def end(self) -> None:
        """Let Hydra print errors as usual, now that the configuration is composed."""
        if self._is_under_way:
            self._is_under_way = False
            os.environ.pop(FULL_ERROR)
            if self._before is not None:
                os.environ[FULL_ERROR] = self._before


composition = Composition()
"""That of this process."""


def _end(said: str, error: Exception | None = None) -> NoReturn:
    sys.stderr.write(f"lightning-al: {printable(without_secrets(' '.join(said.split())), most=5_000)}\n")
    raise SystemExit(1) from error
