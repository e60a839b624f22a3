"""The file that is locked while a run holds its folder: made whole, and of one folder alone.

The file names the folder that it was made in by the folder's own number (its inode), which a moved folder keeps. A copy
by hard links (``cp -al``) has the same file, though it is another folder on the same disk. There a new file is put in
its place, and the other folder's file stays locked. A file that names its own folder is never replaced.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = b"A run of lightning_al holds this folder.\n"
"""How the file begins that a run makes. A file that begins otherwise is never removed."""

_NUMBER = re.compile(re.escape(MARK) + rb"The folder's number is (\d{1,20})\.\n")

_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP}

# No link is followed, and a FIFO is not waited for.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def locked(path: Path, flags: int, *, is_shared: bool) -> int | None:
    """Open and lock a file, and return its descriptor, or None if another process holds it."""
    file = os.open(path, flags | _FLAGS, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        # The process that held it may have removed it while this one opened it.
        if _lock(file, is_shared) and is_at(file, path):
            return file
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def put(path: Path, may_replace: Callable[[], bool] | None = None) -> int | None:
    """Make a file that names its folder, and move it to its place complete and locked.

    Args:
        path: Its place.
        may_replace: Tells whether to replace what is there now. Without it, nothing is replaced.

    Returns:
        Its descriptor, or None if it was not moved there.
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
        # Another run was first, and removed the draft as one that a killed process left.
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
    """Make and lock a file that names its folder, and return its descriptor, or None if another process locked it.

    Raises:
        FileExistsError: If the path exists.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
    try:
        os.write(file, mark_of(path.parent))
        os.fsync(file)
        if _lock(file, is_shared=False) and is_at(file, path):
            return file
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


@contextmanager
def alone(folder: Path) -> Iterator[bool | None]:
    """Keep others for a moment from replacing a folder's lock, and yield whether that succeeded.

    It is None if the file system has no locks on folders.
    """
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


def mark_of(folder: Path) -> bytes:
    """Return the content of a folder's file."""
    return MARK + f"The folder's number is {os.stat(folder).st_ino}.\n".encode()


def is_of_another(file: int, folder: Path) -> bool:
    """Return whether an open file names another folder. A file of an earlier version names none."""
    content = content_of(file)
    try:
        return _NUMBER.fullmatch(content) is not None and content != mark_of(folder)
    except FileNotFoundError:
        return True


def is_of_a_copy(path: Path) -> bool:
    """Return whether a file belongs to another folder, because one was copied from the other by hard links."""
    try:
        file = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        found = os.fstat(file)
        # Folders' numbers change on some network disks. There, at least a file with a single name is not replaced.
        return stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and is_of_another(file, path.parent)
    except OSError:  # Windows does not let it be read while it is locked
        return False
    finally:
        os.close(file)


def content_of(file: int) -> bytes:
    """Return the beginning of an open file."""
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, 2 * len(MARK) + 100)


def is_at(file: int, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
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
