"""The source of a file as a tree, which several tests read, parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file. All tests share the tree, so none may change it."""
    return ast.parse(path.read_text())


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Return the nodes of a file, in the order of `ast.walk`."""
    return tuple(ast.walk(tree_of(path)))
