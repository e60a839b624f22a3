"""Show the examples in docstrings as code. In Markdown, a block that begins with ``>>>`` is a quotation."""

from __future__ import annotations

import re
from typing import Any

import griffe

BLOCK = re.compile(r"^( *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)
"""The lines from a prompt to the next empty line."""


class FencedDoctests(griffe.Extension):
    """Put each example of a docstring between fences."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of what griffe has read."""
        if obj.docstring is not None:
            obj.docstring.value = BLOCK.sub(fenced, obj.docstring.value)


def fenced(block: re.Match[str]) -> str:
    """Return an example between fences."""
    indent = block[1]
    return f"{indent}```pycon\n{block[0]}\n{indent}```"
