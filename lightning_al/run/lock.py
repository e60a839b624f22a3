"""Hold a run's folder, so that one process writes to it at a time.

A POSIX lock, as SQLite takes it, is gone as soon as its process has opened and closed the file once more, as a program
does that copies its folder. This lock belongs to the file as it was opened (`flock`, on Windows `msvcrt.locking`): what
else the process opens does not matter, and the system releases it when the process ends in any way.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from lightning_al.run.files import read_json
from lightning_al.run.lock_file import MARK, alone, content_of, is_at, is_of_a_copy, is_of_another, locked, mark_of, put

NAME = "writer.lock"

WRITER = "writer.json"
"""Tells people which process writes."""

SECONDS = 1.0
"""How long to wait for another process, which may only be reading."""

POLL_SECONDS = 0.02

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class InUseError(RuntimeError):
    """Another process writes to the run's folder.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"Another process is writing to the run folder {folder}{_writer(folder)}. Wait until it ends, or "
            "choose another folder."
        )


class RunLock:
    """Hold a folder for writing, until it is released or the process ends.

    Forked processes do not hold it too, so it is free as soon as this process ends, even if the workers of a DataLoader
    outlive it for a while. A copy of this object, by pickle or otherwise, holds nothing.

    Args:
        folder: The run's folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = RunLock(Path(folder))
    ...     lock.acquire()
    ...     try:
    ...         RunLock(Path(folder)).acquire()
    ...     except InUseError:
    ...         print("in use")
    ...     lock.release()
    in use
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: int | None = None

    def __reduce__(self) -> tuple[type[RunLock], tuple[Path]]:
        return type(self), (self.folder,)

    def __del__(self) -> None:
        self.drop()

    @property
    def is_held(self) -> bool:
        """Whether this process holds the folder: it has locked the file that others would lock."""
        file = self._file
        return file is not None and is_at(file, self.folder / NAME) and not is_of_another(file, self.folder)

    def acquire(self) -> None:
        """Hold the folder. If the file was removed meanwhile, lock a new one.

        Raises:
            InUseError: If another process writes to the folder, and still does after a second.
            OSError: If there is no such folder, or it cannot be written.
            RuntimeError: If its file system has no locks.
            ValueError: If another program wrote the file.
        """
        if self.is_held:
            return
        self.drop()
        _try_until_held(self.folder, self._is_acquired)
        _HELD.add(self)

    def release(self) -> None:
        """Release the folder, and remove the file if a run made it."""
        if self._file is not None and self.is_held:
            with suppress(OSError):
                if content_of(self._file).startswith(MARK):
                    (self.folder / NAME).unlink()
        self.drop()

    def drop(self) -> None:
        """Release the folder as a process does that ends: the file stays."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _is_acquired(self) -> bool:
        path = self.folder / NAME
        if not os.path.lexists(path):
            self._file = put(path)
            return self._file is not None
        try:
            self._file = locked(path, os.O_RDWR, is_shared=False)
        except FileNotFoundError:  # the process that held it has just removed it
            return False
        if self._file is None:
            if is_of_a_copy(path):
                with alone(self.folder) as is_alone:
                    self._file = put(path, lambda: is_alone is True and is_of_a_copy(path))
            return self._file is not None
        content = content_of(self._file)
        if not content.startswith(MARK) and not MARK.startswith(content):
            self.drop()
            raise ValueError(
                f"The folder {self.folder} has a {NAME} that no run wrote, where a run keeps its lock. Remove it, or "
                "choose another folder."
            )
        return content in (b"", mark_of(self.folder)) or self._is_renewed(path)

    def _is_renewed(self, path: Path) -> bool:
        """Replace the locked file, which an earlier version or a copied folder left, by one that names this folder."""
        old = self._file
        assert old is not None
        with alone(self.folder) as is_alone:
            new = put(path, lambda: is_alone is not False and is_at(old, path))
        if new is not None:
            self.drop()
            self._file = new
        elif is_of_a_copy(path):  # which another process is about to replace
            self.drop()
        return self.is_held or (self._file is not None and is_at(self._file, path))


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a folder for the time of a context. It raises what `RunLock.acquire` raises.

    Raises:
        InUseError: If another process writes to the folder.
    """
    lock = RunLock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep processes from writing to a folder while it is read. Any number may read, and nothing is written.

    Raises:
        InUseError: If a process writes to the folder, and still does after a second.
    """
    path = folder / NAME
    file: int | None = None

    def is_free() -> bool:
        nonlocal file
        if is_of_a_copy(path):  # nobody writes here, and a writer of the other folder is not blocked
            return True
        try:
            file = locked(path, os.O_RDONLY, is_shared=True)
        except FileNotFoundError:
            return True
        return file is not None

    _try_until_held(folder, is_free)
    try:
        yield
    finally:
        if file is not None:
            os.close(file)


def _try_until_held(folder: Path, attempt: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if attempt():
                return
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise RuntimeError(
                f"The run folder {folder} cannot be locked, because its file system has no locks ({error}). "
                "Two runs could write to it at once. Choose a folder on a local disk."
            ) from error
        if time.monotonic() > deadline:
            raise InUseError(folder)
        time.sleep(POLL_SECONDS)


_HELD: WeakSet[RunLock] = WeakSet()


def _drop_all() -> None:
    for lock in list(_HELD):
        lock.drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_all)


def _writer(folder: Path) -> str:
    """Return which process writes to a folder, or wrote last, if that is known."""
    try:
        writer = read_json(folder / WRITER)
        return f": process {writer['process']} on {writer['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
