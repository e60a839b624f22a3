"""Hold a run's folder, so that one process writes to it at a time.

A lock of POSIX, as SQLite takes, is gone as soon as its process has opened and closed the file once more, as a program
does that copies its folder. This one belongs to the file as it was opened (`flock`, on Windows `msvcrt.locking`): what
else the process opens does not matter, and the system lets go of it when the process ends, however that ends.

The file names the folder that it was made in by the folder's own number (its inode), which a moved folder keeps.
A copy by hard links (``cp -al``) has the same file, though it is another folder, on the same disk: there a new file is
put in its place, and the other folder's stays locked as it is. A file that names its own folder is never replaced.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from lightning_al.run.files import read_json

NAME = "writer.lock"

MARK = b"A run of lightning_al holds this folder.\n"
"""How the file begins, where a run made it. Nobody removes a file that says something else, or nothing."""

_NUMBER = re.compile(re.escape(MARK) + rb"The folder's number is (\d{1,20})\.\n")

WRITER = "writer.json"
"""Says for people who writes."""

SECONDS = 1.0
"""How long to wait for another process, which may only be reading."""

POLL_SECONDS = 0.02

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}

_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP}

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
        file = self._file
        return file is not None and _is_at(file, self.folder / NAME) and not _is_of_another(file, self.folder)

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
                if _content(self._file).startswith(MARK):
                    (self.folder / NAME).unlink()
        self.drop()

    def drop(self) -> None:
        """Let go of the folder, as a process does that ends."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _is_acquired(self) -> bool:
        path = self.folder / NAME
        if not os.path.lexists(path):
            self._file = _put(path)
            return self._file is not None
        try:
            self._file = _locked(path, os.O_RDWR, is_shared=False)
        except FileNotFoundError:  # who held it has removed it just now
            return False
        if self._file is None:
            if _is_of_a_copy(path):
                with _alone(self.folder) as is_alone:
                    self._file = _put(path, lambda: is_alone is True and _is_of_a_copy(path))
            return self._file is not None
        content = _content(self._file)
        if not content.startswith(MARK) and not MARK.startswith(content):
            self.drop()
            raise ValueError(
                f"The folder {self.folder} has a {NAME} that no run wrote, where a run keeps its lock. Remove it, or "
                "choose another folder."
            )
        return content in (b"", _mark(self.folder)) or self._is_renewed(path)

    def _is_renewed(self, path: Path) -> bool:
        """Put a file that names this folder in the place of the one that is held, of an earlier version or a copy's."""
        old = self._file
        assert old is not None
        with _alone(self.folder) as is_alone:
            new = _put(path, lambda: is_alone is not False and _is_at(old, path))
        if new is not None:
            self.drop()
            self._file = new
        elif _is_of_a_copy(path):  # which another process is about to replace
            self.drop()
        return self.is_held or (self._file is not None and _is_at(self._file, path))


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
        if _is_of_a_copy(path):  # nobody writes here, and whoever writes there is not kept from it
            return True
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


def _put(path: Path, may_replace: Callable[[], bool] | None = None) -> int | None:
    """Make a file that says whose it is, and put it in its place whole and locked, so that none is found half made.

    Args:
        path: Where it comes.
        may_replace: Whether what is there now is to be replaced; without it, nothing is.

    Returns:
        Its number, or None where it did not come there.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    file = None
    is_there = False
    try:
        file = _make(draft)
        if may_replace is None:
            os.link(draft, path)
            is_there = True
        elif may_replace():
            draft.replace(path)
            is_there = True
    except FileExistsError:
        pass
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise
        # Another run, which has come first, takes the draft for one that a killed process left.
    except OSError as error:
        if may_replace is not None or file is None or error.errno not in _NO_LINKS:
            raise
        with suppress(FileExistsError):
            return _make(path)  # a file system without hard links, where it is empty for a moment
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if file is not None and not is_there:
            os.close(file)
    return file if is_there else None


def _make(path: Path) -> int | None:
    """Make a file that says whose it is, and return its number, locked, or None where another has locked it.

    Raises:
        FileExistsError: If there is something.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
    try:
        os.write(file, _mark(path.parent))
        os.fsync(file)
        if _lock(file, is_shared=False) and _is_at(file, path):
            return file
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


@contextmanager
def _alone(folder: Path) -> Iterator[bool | None]:
    """Keep others for a moment from replacing a folder's lock; None where its file system locks no folders."""
    folder_file: int | None = None
    try:
        try:
            folder_file = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            is_alone: bool | None = _lock(folder_file, is_shared=False)
        except OSError:
            is_alone = None
        yield is_alone
    finally:
        if folder_file is not None:
            os.close(folder_file)


def _mark(folder: Path) -> bytes:
    """Return what the file of a folder says."""
    return MARK + f"The folder's number is {os.stat(folder).st_ino}.\n".encode()


def _is_of_another(file: int, folder: Path) -> bool:
    """Return whether an open file names another folder than this one; one of an earlier version names none."""
    content = _content(file)
    try:
        return _NUMBER.fullmatch(content) is not None and content != _mark(folder)
    except FileNotFoundError:
        return True


def _is_of_a_copy(path: Path) -> bool:
    """Return whether a file is another folder's, which this folder was copied from by hard links, or the other way."""
    try:
        file = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        found = os.fstat(file)
        # Where numbers of folders change, as on some network disks, at least a file with one name stays as it is.
        return stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and _is_of_another(file, path.parent)
    except OSError:  # Windows does not let it be read while it is locked
        return False
    finally:
        os.close(file)


def _content(file: int) -> bytes:
    """Return how an open file begins."""
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, 2 * len(MARK) + 100)


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
