"""A parser of command-line arguments that says in one line what is wrong with them."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from typing_extensions import override

from lightning_al.values.nearest import did_you_mean

INVALID_CHOICE = re.compile(r"invalid choice: '(?P<given>[^']*)' \(choose from (?P<known>.*)\)")
"""What argparse says of a word that is none of those it knows."""


class OneLineParser(argparse.ArgumentParser):
    """Parse arguments as argparse does, but end with one line in place of the whole usage, with the nearest known name.

    >>> OneLineParser("tool").parse_args(["--what"])
    Traceback (most recent call last):
        ...
    SystemExit: 2
    """

    @override
    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all arguments, and name the option that is most like an unknown one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = re.findall(r"--[a-z-]+", self.format_help())
            self.error(f"unrecognized arguments: {' '.join(unknown)}{did_you_mean(unknown[0], known)}")
        return parsed

    @override
    def error(self, message: str) -> NoReturn:
        """Print one line, and exit with code 2."""
        wrong = INVALID_CHOICE.search(message)
        if wrong:
            message += did_you_mean(wrong["given"], re.findall(r"[\w-]+", wrong["known"]))
        self.exit(2, f"{self.prog}: {message.removesuffix('.')}. See `{self.prog} --help`.\n")
