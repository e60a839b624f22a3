"""The folder of one round's checkpoints: its name, and the mark in it that says which run made it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from lightning_al.host.namespace import rank_zero_warn
from lightning_al.run.files import kind_of, read_json, replacing, sync
from lightning_al.run.inert import read_checkpoint

MARK = ".lightning_al.json"
"""The file in a round's folder that names the run and the round that made it."""

_NAME = re.compile(r"round-(?P<number>\d{1,9})(-[0-9a-f]{8})?(?P<aside>-before)?")


def safe_id(run_id: str) -> str:
    """Return an id that is safe in a path. Ids that `RoundCheckpoints` made are returned unchanged."""
    return run_id if re.fullmatch("[0-9a-f]{32,64}", run_id) else hashlib.sha256(run_id.encode()).hexdigest()


def is_local(place: str) -> bool:
    """Return whether a place is a local folder. At an address, such as ``s3://bucket``, nothing is ever removed."""
    return "://" not in place


def folder_of(place: str, number: int, run_id: str) -> str:
    """Return the path of a round's folder: the one that exists, or the first of two names that is free.

    Raises:
        ValueError: If both names are taken.
    """
    own = f"{place}/round-{number}-{run_id[:8]}"
    if not is_local(place):
        return own
    names = [str(Path(place, f"round-{number}")), str(Path(own))]
    ours = [name for name in names if is_ours(Path(name), run_id)]
    free = [name for name in names if not os.path.lexists(name)]
    if not ours and not free:
        raise ValueError(
            f"`ModelCheckpoint` should write the checkpoints of round {number} to {names[1]}, but something else has "
            "that name. Remove it, or choose another `dirpath`."
        )
    return (ours or free)[0]


def make_folder(place: str, number: int, run_id: str) -> str:
    """Make a round's folder with its mark, unless it exists, and return its path."""
    if not is_local(place):
        return folder_of(place, number, run_id)
    # It gets its mark before its name, so a process that is killed leaves no folder without a mark.
    draft = Path(place, f".round-{number}-{run_id}")
    shutil.rmtree(draft, ignore_errors=True)
    for _ in range(2):  # another run may take the name first
        path = Path(folder_of(place, number, run_id))
        if is_ours(path, run_id):
            break
        draft.mkdir(parents=True, exist_ok=True)
        mark_folder(draft, number, run_id)
        try:
            draft.rename(path)
        except OSError:
            if not os.path.lexists(path):
                raise
    shutil.rmtree(draft, ignore_errors=True)
    return str(path)


def mark_folder(folder: Path, number: int, run_id: str) -> None:
    """Write the mark of a run's round into a folder."""
    with replacing(folder / MARK) as path:
        path.write_text(json.dumps({"run": run_id, "round": number}) + "\n")


def _mark_of(folder: Path) -> dict[str, object]:
    """Return a folder's mark, or an empty dict if it cannot be read."""
    if kind_of(folder) != "a folder":
        return {}
    try:
        mark = read_json(folder / MARK)
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def is_ours(folder: Path, run_id: str) -> bool:
    """Return whether the run made the folder under this name. A copy under another name is the user's."""
    name = _NAME.fullmatch(folder.name)
    return name is not None and _mark_of(folder) == {"run": run_id, "round": int(name["number"])}


def folders_of(place: str, run_id: str) -> list[Path]:
    """Return the folders of the run's rounds in a place."""
    return [folder for folder in rounds_in(place) if is_ours(folder, run_id)]


def rounds_in(place: str) -> list[Path]:
    """Return what has the name of a round's folder, whoever made it."""
    try:
        names = os.listdir(place)
    except OSError:
        return []
    return [Path(place, name) for name in sorted(names) if _NAME.fullmatch(name)]


def is_unmarked(folder: Path) -> bool:
    """Return whether it is a folder without a mark."""
    return kind_of(folder) == "a folder" and not os.path.lexists(folder / MARK)


def is_empty(folder: Path) -> bool:
    """Return whether a folder holds nothing but its mark."""
    return os.listdir(folder) == [MARK]


def are_whole(folder: Path) -> bool:
    """Sync a folder's checkpoints to disk, and return whether it has some and all can be loaded.

    A warning names one that cannot.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    for path in paths:
        try:
            sync(path)
            read_checkpoint(path)
        except Exception as error:  # a damaged file may raise anything
            reason = " ".join(str(error).split())[:100]
            rank_zero_warn(
                f"The checkpoint {path} cannot be loaded ({type(error).__name__}: {reason}). "
                "The checkpoints of earlier rounds are kept. Check that the disk has room."
            )
            return False
    for parent in sorted({folder, *(path.parent for path in paths)} if paths else ()):
        sync(parent)
    return len(paths) > 0
