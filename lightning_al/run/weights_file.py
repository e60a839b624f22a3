"""Files of weights in a run folder: what `torch.save` writes, and a hash by which they are known to be whole."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lightning_al.run.files import LARGEST_WEIGHTS, open_plain
from lightning_al.run.folder import PUT_BACK
from lightning_al.run.inert import is_in_usual_form

DIGEST_BYTES = 32


def weights_file(weights: Mapping[str, Tensor]) -> bytes:
    """Return the content of a file of weights: what `torch.save` writes, and its hash."""
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


def load_weights(folder: str | os.PathLike[str], name: str) -> dict[str, Tensor]:
    """Load weights that a journal saved under a name, even while another process writes the journal.

    Raises:
        RuntimeError: If they are missing or damaged.
    """
    path = Path(folder) / f"{name}.pt"
    try:
        with open_plain(path, LARGEST_WEIGHTS) as file:
            saved = _read_whole(file)
    except FileNotFoundError:
        raise RuntimeError(f"The run in {folder} needs {path.name}, which is not there. {PUT_BACK}") from None
    except (OSError, ValueError, MemoryError) as error:
        reason = str(error).rstrip(".") or "there is too little memory"
        raise RuntimeError(f"{path} could not be read: {reason}. Make it readable. {PUT_BACK}") from error
    if saved is None:
        raise RuntimeError(f"{path} is damaged: its bytes do not have the hash that it was saved with. {PUT_BACK}")
    weights: Any = None
    reason = "it is no zip file of `torch.save`"
    try:
        if is_in_usual_form(io.BytesIO(saved)):
            weights = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
            reason = f"it holds {type(weights).__name__}"
    except Exception as error:  # what torch raises depends on what is in the file
        # torch's own message says how to run the code in the file, so it is not passed on.
        reason = f"it is damaged, or holds more than tensors and plain data ({type(error).__name__})"
    if not isinstance(weights, dict):
        raise RuntimeError(f"{path} has no weights that a run wrote: {reason}. {PUT_BACK}")
    return weights


def _read_whole(file: BinaryIO) -> bytes | None:
    """Return the content of a file without the hash at its end, or None if the hash is wrong."""
    size = max(0, os.fstat(file.fileno()).st_size - DIGEST_BYTES)
    digest = hashlib.sha256()
    left = size
    while left > 0:  # in parts, because a damaged file may be huge
        chunk = file.read(min(left, 2**20))
        if not chunk:
            return None
        digest.update(chunk)
        left -= len(chunk)
    if file.read(DIGEST_BYTES) != digest.digest():
        return None
    file.seek(0)
    return file.read(size)
