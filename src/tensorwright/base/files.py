"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tensorwright.base.errors import FileError

_ATTEMPTS = 100
_EXCLUSIVE, _AT_ONCE = 2, 4  # LOCK_EX, LOCK_NB


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: int = 0o666) -> Iterator[BinaryIO]:
    """A new file that takes the place of the one at `path` once it is complete and on the disk.

    Links are followed: what they lead to is replaced, in its own folder. An existing file passes its permissions on.
    The new content is written to a draft beside it, a hidden file that ends in 16 hexadecimal digits. A draft is locked
    while somebody writes it; those that nobody writes any more, because their writers were killed, are deleted.

    mode: permissions of a file that does not exist yet, less what the process's mask takes away.

    Raises:
        FileError: there is a folder, a device, a pipe or a socket.
        OSError: the file cannot be written.
    """
    name = os.fsdecode(path)
    if "\0" in name:
        raise FileError(f"{name!r}: expected a path, found one with a zero byte")
    target = Path(os.path.realpath(name))
    existing = _existing(target)
    _delete_left(target)
    draft, handle = _create(target, mode)
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            yield file
        if existing is not None:
            _adopt(handle, existing)
        os.fsync(handle)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def require_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is there but is no file that can be read to its end and replaced.

    Raises:
        FileError: there is a folder, a device, a pipe or a socket.
        OSError: the system does not say.
    """
    _existing(Path(path))


def _existing(target: Path) -> os.stat_result | None:
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise FileError(
            f"{target}: expected a regular file or nothing, found {_kind(found.st_mode)}; choose another path"
        )
    return found


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _create(target: Path, mode: int) -> tuple[Path, int]:
    """A draft and its handle, locked. Whoever deletes what is left may be faster than the lock."""
    for _ in range(_ATTEMPTS):
        draft = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        _lock(handle, _EXCLUSIVE)
        if draft.exists():
            return draft, handle
        os.close(handle)
    raise OSError(f"{target}: {_ATTEMPTS} drafts were deleted while they were made")


def _delete_left(target: Path) -> None:
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}")
    with contextlib.suppress(OSError):
        for entry in target.parent.iterdir():
            if pattern.fullmatch(entry.name):
                _delete_unlocked(entry)


def _delete_unlocked(draft: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(draft, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            if _lock(handle, _EXCLUSIVE | _AT_ONCE):
                draft.unlink()
        finally:
            os.close(handle)


def _lock(handle: int, operation: int) -> bool:
    """Whether a file could be locked until its handle is closed; some file systems have no locks."""
    try:
        from fcntl import flock

        flock(handle, operation)
    except (ImportError, OSError):
        return False
    return True


def _adopt(handle: int, existing: os.stat_result) -> None:
    """Give a file the owner, as far as the system allows it, and the permissions of another one."""
    if hasattr(os, "fchown"):
        with contextlib.suppress(OSError):
            os.fchown(handle, existing.st_uid, existing.st_gid)
    if hasattr(os, "fchmod"):
        os.fchmod(handle, stat.S_IMODE(existing.st_mode) & 0o777)
