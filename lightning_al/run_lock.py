"""Hold a run's folder, so that one process writes to it at a time.

A lock of POSIX, as SQLite takes, is gone as soon as its process has opened and closed the file once more, as a program
does that copies its folder. This one belongs to the file as it was opened (`flock`, on Windows `msvcrt.locking`): what
else the process opens does not matter, and the system lets go of it when the process ends, however that ends.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from lightning_al.files import read_json

NAME = "writer.lock"

MARK = b"A run of lightning_al holds this folder.\n"
"""What the file says, where a run made it. Nobody removes a file that says something else, or nothing."""

WRITER = "writer.json"
"""Says for people who writes."""

SECONDS = 1.0
"""How long to wait for another process, which may only be reading."""

POLL_SECONDS = 0.02

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}

# No link is followed, and a FIFO is not waited for.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


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

    Processes that this one forks do not hold it with it, so that it is free as soon as this one has ended, even where
    the workers of a DataLoader outlive it for a while. A copy of this object, by pickle or otherwise, holds nothing.

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
        """Whether this process holds the folder: the file that it locked is still the one that others would lock."""
        return self._file is not None and _is_at(self._file, self.folder / NAME)

    def acquire(self) -> None:
        """Hold the folder, anew where the file was removed meanwhile.

        Raises:
            InUseError: If another process writes to the folder, and still does after a second.
            OSError: If there is no such folder, or it cannot be written.
            RuntimeError: If its file system knows no locks.
            ValueError: If the file is someone else's.
        """
        if self.is_held:
            return
        self.drop()
        _try_until_held(self.folder, self._is_acquired)
        _HELD.add(self)

    def release(self) -> None:
        """Let go of the folder, and remove the file where a run made it."""
        if self._file is not None and self.is_held:
            with suppress(OSError):
                if _content(self._file) == MARK:
                    (self.folder / NAME).unlink()
        self.drop()

    def drop(self) -> None:
        """Let go of the folder, as a process does that ends."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _is_acquired(self) -> bool:
        path = self.folder / NAME
        with suppress(FileExistsError):
            _make(path)
        try:
            self._file = _locked(path, os.O_RDWR, is_shared=False)
        except FileNotFoundError:  # who held it has removed it just now
            return False
        if self._file is not None and not MARK.startswith(_content(self._file)):
            self.drop()
            raise ValueError(
                f"The folder {self.folder} has a {NAME} that no run wrote, where a run keeps its lock. Remove it, or "
                "choose another folder."
            )
        return self._file is not None


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a folder for a while.

    Raises:
        InUseError: As `RunLock.acquire`, and so on.
    """
    lock = RunLock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep processes from writing to a folder while it is read; any number may read, and nothing is written.

    Raises:
        InUseError: If a process writes to the folder, and still does after a second.
    """
    path = folder / NAME
    file: int | None = None

    def is_free() -> bool:
        nonlocal file
        try:
            file = _locked(path, os.O_RDONLY, is_shared=True)
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
                f"The run folder {folder} cannot be locked, since its file system knows no locks ({error}), so that "
                "two runs could write to it at once. Choose a folder on a local disk."
            ) from error
        if time.monotonic() > deadline:
            raise InUseError(folder)
        time.sleep(POLL_SECONDS)


def _locked(path: Path, flags: int, *, is_shared: bool) -> int | None:
    """Open and lock a file, and return its number, or None where another holds it."""
    file = os.open(path, flags | _FLAGS, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        # Who held it may have removed it while this process opened it.
        if _lock(file, is_shared) and _is_at(file, path):
            return file
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def _make(path: Path) -> None:
    """Make a file that says whose it is.

    Raises:
        FileExistsError: If there is something.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
    try:
        os.write(file, MARK)
    finally:
        os.close(file)


def _content(file: int) -> bytes:
    """Return how an open file begins."""
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, len(MARK) + 1)


def _is_at(file: int, path: Path) -> bool:
    """Return whether an open file is the one that has a name."""
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except OSError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, is_shared: bool) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _lock(file: int, is_shared: bool) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


_HELD: WeakSet[RunLock] = WeakSet()


def _drop_all() -> None:
    for lock in list(_HELD):
        lock.drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_all)


def _writer(folder: Path) -> str:
    """Say who writes to a folder, or wrote last, where that is known."""
    try:
        writer = read_json(folder / WRITER)
        return f": process {writer['process']} on {writer['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
