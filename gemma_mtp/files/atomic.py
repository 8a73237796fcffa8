"""Output files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
        raise UsageError("the folder does not exist", where=path.parent, hint=f"mkdir -p {path.parent}")


@contextlib.contextmanager
def atomic_output(path: Path, *, size: int, force: bool = False) -> Iterator[DirectFile]:
    """A file that takes the name `path` when the block ends well, and vanishes when it does not.

    It is written in the same folder, flushed to disk and renamed. `size` is what it will need, in bytes.

    Raises UsageError (see `check_output`), EnvironmentProblem (no room, not writable).
    """
    check_output(path, force)
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise EnvironmentProblem(
            f"{size / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free", where=path.parent, hint="make room"
        )
    with translate_os_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            try:
                with DirectFile(handle) as file:
                    yield file
            finally:
                os.close(handle)
            part.chmod(0o666 & ~current_umask())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


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
