"""What may lie in a run's folder: no links out of it where a run reads or writes, and no other program's files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning_al.run.files import kind_of
from lightning_al.run.folder_path import check_can_be_folder
from lightning_al.run.hard_links import break_links_below

JOURNAL = "journal.sqlite"

LINES = "history.jsonl"
"""The rounds for people to read, which the journal's writer replaces after each."""

KEYS = "keys.jsonl"
"""The key of each index, where items have keys."""

MODEL = "model.ckpt"
"""The trained model of a finished run, as a checkpoint of Lightning's."""

LABELS = "labels.csv"
"""All labels of a run, as a table."""

CONFIG = "config.yaml"
"""Configuration of a run of the command line."""

SUMMARY = "summary.json"
"""Summary of a run, written once it has finished."""

ERROR = "error.txt"
"""Error of a failed cell of a sweep: one line, then the whole traceback."""

COPY = "Put back a copy of the folder from before."

PUT_BACK = f"Put back a copy of {JOURNAL} and the files beside it from before, or begin again in another folder."

OF_JOURNAL = re.compile(
    r"journal\.sqlite(-journal|-wal|-shm)?|history\.jsonl|keys\.jsonl|model\.ckpt|labels\.csv|writer\.json"
    r"|(damaged|schema-1)-\d+\.sqlite|initial\.pt|fit-\d+\.pt|warm-\d+(-member-\d+)?\.pt|pseudo-labels-\d+\.pt"
    r"|round-\d+-member-\d+\.pt|features-[a-z0-9-]+\.npy"
)
"""The files that the journal keeps in the folder."""

OF_LOCK = re.compile(r"writer\.lock")
"""The file that is locked while a process writes to the folder. A killed process leaves it behind."""

OF_COMMAND = re.compile(r"config\.yaml|summary\.json|error\.txt|loggers\.json|curve\.png|asked\.png")
"""The files that the command line and the report keep there."""

OF_LOGGER = ("hparams.yaml", "metrics.csv")
"""Files that Lightning's loggers keep in their folders."""

_CHECKPOINT = re.compile(r".+\.ckpt", re.DOTALL)


def member_name(number: int, member: int) -> str:
    """Return the name of the weights after one of a round's several fits, kept until the round is recorded."""
    return f"round-{number}-member-{member}"


def end_name(number: int, member: int) -> str:
    """Return the name of the weights after a fit of a round, from which the next round starts.

    >>> end_name(3, 0), end_name(3, 1)
    ('warm-3', 'warm-3-member-1')
    """
    return f"warm-{number}" if member == 0 else f"warm-{number}-member-{member}"


def pseudo_labels_name(number: int) -> str:
    """Return the name under which a folder keeps the predictions after a round that the next one trains on."""
    return f"pseudo-labels-{number}"


def has_journal(folder: str | os.PathLike[str] | None) -> bool:
    """Return whether a folder holds the journal of a run.

    >>> has_journal(None), has_journal("no such folder")
    (False, False)
    """
    return folder is not None and os.path.lexists(os.path.join(folder, JOURNAL))


def check_files(folder: Path, *names: re.Pattern[str]) -> None:
    """Refuse a folder in which a link, a pipe, a device or a folder has the name of a run's file.

    Args:
        folder: The run's folder, which may itself be a link.
        names: The names of the run's files.

    Raises:
        ValueError: If there is one; the message names it.
    """
    for name in _listed(folder):
        kind = kind_of(folder / name) if any(pattern.fullmatch(name) for pattern in names) else None
        if kind is not None:
            raise ValueError(
                f"The run folder {folder} has {kind} named {name}, where a run keeps a file of its own. Remove "
                "it, or choose another folder."
            )


def check_is_a_run(folder: Path, *names: re.Pattern[str]) -> None:
    """Refuse a folder that has no journal, but files that a run would overwrite.

    Raises:
        ValueError: If there are any; the message names them.
    """
    # The journal is looked for last, because another process that begins a run there makes it first.
    listed = [name for name in _listed(folder) if not name.startswith(JOURNAL)]  # SQLite's may be of a killed start
    found = [name for name in listed if any(one.fullmatch(name) for one in names)]
    journal = folder / JOURNAL
    if journal.exists() and (journal.stat().st_size > 0 or (folder / LINES).exists()):
        return  # it is a run, though perhaps a damaged one
    if found:
        raise ValueError(
            f"The folder {folder} has {', '.join(found[:5])}, which a run would overwrite, but no {JOURNAL}, so it "
            "holds no run. Choose another folder, or put back its journal if it held a run."
        )


def check_tree(folder: Path, place: Path) -> None:
    """Refuse links out of the folder in a place below it, where a logger or a checkpoint writes.

    Links that Lightning and W&B make are allowed if they stay inside the folder, and so is W&B's link to its log.

    Args:
        folder: The run's folder.
        place: A file or a folder in it, which need not exist.

    Raises:
        ValueError: If there is such a link; the message names it.
    """
    parts = place.relative_to(folder).parts
    above = [folder.joinpath(*parts[:depth]) for depth in range(1, len(parts))]
    for path in [*above, *_below(place)]:
        kind = kind_of(path)
        is_right = path.name not in OF_LOGGER if kind == "a folder" else kind is None
        if is_right or (kind == "a link" and (_is_lightnings(path) or _is_wandbs(path, folder))):
            continue
        raise ValueError(
            f"The run folder {folder} has {kind} named {path.relative_to(folder)}, where Hydra, a logger or a "
            f"checkpoint would write. Remove it, or choose another folder."
        )


def check_places(folder: Path, places: Iterable[str | os.PathLike[str] | None]) -> None:
    """Refuse links out of the folder in those places that lie in it, as `check_tree` does.

    Args:
        folder: The run's folder.
        places: Where loggers and checkpoints write, in the folder or not.

    Raises:
        ValueError: If there can be no such folder, if there is such a link, or if a link in the folder leads to one of
            the places.
    """
    folder = Path(os.path.abspath(folder))
    check_can_be_folder(folder)
    places = list(places)
    paths = [Path(os.path.abspath(place)) for place in places if place is not None and "://" not in os.fspath(place)]
    for home, path in _in_folder(folder, places):
        if path == home:
            for name in _listed(home):
                if kind_of(home / name) != "a folder":
                    check_tree(home, home / name)
        else:
            check_tree(home, path)
    # A ModelCheckpoint resolves links in its path.
    for name in _listed(folder):
        link = folder / name
        if kind_of(link) == "a link":
            there = Path(os.path.realpath(link))
            if there in paths and not folder.resolve().is_relative_to(there):
                raise ValueError(
                    f"The run folder {folder} has a link named {name} to {there}, where a logger or a checkpoint would "
                    f"write. Remove it, or choose another folder."
                )


def break_links(folder: Path, places: Iterable[str | os.PathLike[str] | None]) -> None:
    """Break the hard links in those places that lie in the folder, as `break_links_below` does.

    If the folder itself is one of the places, only the files directly in it are meant, as in `check_places`, and not
    those of the journal.
    """
    for home, path in _in_folder(folder, places):
        if path != home:
            break_links_below(path)
            continue
        for name in _listed(home):
            if kind_of(home / name) is None and not OF_JOURNAL.fullmatch(name):
                break_links_below(home / name)


def _in_folder(folder: Path, places: Iterable[str | os.PathLike[str] | None]) -> Iterator[tuple[Path, Path]]:
    """Yield the absolute places that lie in a folder, each after the folder as the place names it."""
    folder = Path(os.path.abspath(folder))
    for place in places:
        if place is not None and "://" not in os.fspath(place):
            path = Path(os.path.abspath(place))
            home = next((home for home in (folder, folder.resolve()) if path.is_relative_to(home)), None)
            if home is not None:
                yield home, path


def places_of(trainer: Any) -> list[str | os.PathLike[str] | None]:
    """Return the folders to which a Trainer's loggers and ModelCheckpoints write, as far as they are known."""
    places: list[str | os.PathLike[str] | None] = [Path(trainer.default_root_dir, "checkpoints")]
    for logger in trainer.loggers:
        root, save_dir = getattr(logger, "root_dir", None), getattr(logger, "save_dir", None)
        if type(logger).__name__ == "WandbLogger":
            places.append(Path(save_dir or ".", "wandb"))
        else:
            places.append(save_dir if root is None else root)
    places += [getattr(callback, "dirpath", None) for callback in trainer.callbacks]
    return places


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _below(place: Path) -> Iterator[Path]:
    """Yield a place and all that lies below it, without following links."""
    yield place
    if kind_of(place) == "a folder":
        for name in _listed(place):
            yield from _below(place / name)


def _is_lightnings(link: Path) -> bool:
    """Return whether a link is to a checkpoint beside it, as ``ModelCheckpoint(save_last="link")`` makes it."""
    target = os.readlink(link)
    are_checkpoints = _CHECKPOINT.fullmatch(link.name) and _CHECKPOINT.fullmatch(target)
    return bool(are_checkpoints) and "/" not in target and kind_of(link.parent / target) != "a link"


def _is_wandbs(link: Path, folder: Path) -> bool:
    """Return whether a link is one that W&B makes: within its folder, or in a run's `logs` to the program's log."""
    parts = link.relative_to(folder).parts
    if "wandb" not in parts[:-1]:
        return False
    home = folder.joinpath(*parts[: parts.index("wandb") + 1])
    if Path(os.path.realpath(link)).is_relative_to(home.resolve()):
        return True
    return parts[-2:] == ("logs", "debug-core.log")
