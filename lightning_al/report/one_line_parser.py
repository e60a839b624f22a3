"""A parser of command-line arguments that says in one line what is wrong with them."""

from __future__ import annotations

import argparse
from typing import NoReturn

from typing_extensions import override


class OneLineParser(argparse.ArgumentParser):
    """Parse arguments as argparse does, but end with one line in place of the whole usage.

    >>> OneLineParser("tool").parse_args(["--what"])
    Traceback (most recent call last):
        ...
    SystemExit: 2
    """

    @override
    def error(self, message: str) -> NoReturn:
        """Print one line, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message}. See `{self.prog} --help`.\n")
