"""Output files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from gemma_mtp.advice import quoted
from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.files.direct import DirectFile


def check_output(path: Path, force: bool) -> None:
    """Refuse, before any work is done, an output that exists (without `force`) or has no folder.

    Raises UsageError.
    """
    if path.is_dir():
        raise UsageError("this is a folder; name a file", where=path)
    if path.exists() and not force:
        raise UsageError("the file exists already", where=path, hint="add --force to replace it")
    if not path.parent.is_dir():
        raise UsageError("the folder does not exist", where=path.parent, hint=f"mkdir -p {quoted(path.parent)}")


@contextlib.contextmanager
def atomic_output(path: Path, *, size: int, force: bool = False) -> Iterator[DirectFile]:
    """A file that takes the name `path` when the block ends well, and vanishes when it does not.

    It is written in the same folder, flushed to disk and renamed. `size` is what it will need, in bytes. What a
    killed process has left of the same output is removed.

    Raises UsageError (see `check_output`), EnvironmentProblem (no room, not writable).
    """
    check_output(path, force)
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise EnvironmentProblem(
            f"{size / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free", where=path.parent, hint="make room"
        )
    with translate_os_errors(path):
        _remove_abandoned(path)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:  # the name is known before the file exists: a signal in between leaves nothing
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            try:
                _claim(handle)
                with DirectFile(handle) as file:
                    yield file
            finally:
                os.close(handle)
            part.chmod(0o666 & ~current_umask())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _claim(handle: int) -> bool:
    """Lock the open file for as long as it is open; False if another process has it."""
    if sys.platform == "win32":
        return True  # no file that is open can be removed there: that is lock enough
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove unfinished files for the output `path` that nobody is writing any more."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            with part.open("rb") as file:
                abandoned = _claim(file.fileno())
            if abandoned:
                part.unlink()


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Say which output failed, and what to do, instead of an OSError's terse text."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise EnvironmentProblem(
            f"writing failed: {error.strerror}; nothing was left behind",
            where=path,
            hint="make room on the disk, or choose another folder" if full else "check the folder's permissions",
        ) from error


def current_umask() -> int:
    """The process's umask (which can only be read by setting it)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
