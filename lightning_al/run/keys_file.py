"""The file in a run's folder that says which item has which number."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_al.run.files import LARGEST_JOURNAL, open_plain
from lightning_al.run.folder import KEYS, PUT_BACK


def keys_text(keys: Sequence[str | int]) -> str:
    """Return the content of the file: the key of each index as JSON, one a line."""
    return "".join(json.dumps(key) + "\n" for key in keys)


def described_keys(keys: Sequence[str | int]) -> dict[str, Any]:
    """Return what a header says of the keys that a run began with: their number and a hash."""
    return {"number": len(keys), "sha256": hashlib.sha256(keys_text(keys).encode()).hexdigest()}


def load_keys(folder: str | os.PathLike[str]) -> list[str | int]:
    """Return the key of each index of the run in a folder; none where it keeps none.

    Raises:
        RuntimeError: If the file cannot be read.
    """
    try:
        with open_plain(Path(folder) / KEYS, LARGEST_JOURNAL) as file:
            lines = file.read().decode().splitlines()
        return [_checked(json.loads(line)) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{Path(folder) / KEYS} cannot be read: {str(error).rstrip('.')}. {PUT_BACK}") from error


def check_keys(folder: str | os.PathLike[str], keys: Sequence[str | int], begun_with: Any) -> None:
    """Refuse keys that do not begin with those of the run's header.

    Raises:
        RuntimeError: If they do not.
    """
    number = begun_with["number"]
    if len(keys) < number or described_keys(keys[:number]) != begun_with:
        raise RuntimeError(
            f"{Path(folder) / KEYS} does not hold the keys that the run began with, so the numbers of its items are "
            f"unknown. {PUT_BACK}"
        )


def _checked(key: Any) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError(f"{key!r:.80} is no key that a run writes. Put back a copy.")
    return key
