"""Folders for what is needed on the way: gone afterwards; after a kill, when the next one is made there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gemma_mtp.files.direct import translate_os_errors

#: How such a folder is named; nothing else is ever removed.
PREFIX = ".gemma-mtp-scratch-"
NAME = re.compile(re.escape(PREFIX) + r"[0-9a-f]{16}")


@contextlib.contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """A new folder in `beside` (None: where the system has such files), empty and only for this user; gone in the end.

    It is locked while it is in use, so that whoever makes another one there can tell which are abandoned, and removes
    them: signals and models of killed processes are gigabytes. Raises EnvironmentProblem.
    """
    above = Path(tempfile.gettempdir()) if beside is None else beside
    _remove_abandoned(above)
    folder, lock = _made(above)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _made(above: Path) -> tuple[Path, int | None]:
    """A new folder and its lock; None where there are no locks: nobody takes it for abandoned there."""
    while True:
        folder = above / f"{PREFIX}{secrets.token_hex(8)}"
        with translate_os_errors(folder):
            folder.mkdir(0o700)
        try:
            lock = _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process's clean-up has come upon it before, and takes it for abandoned
        except OSError:
            return folder, None
        if lock is None or folder.exists():
            return folder, lock
        os.close(lock)  # the same, and it is done


def _remove_abandoned(above: Path) -> None:
    """Remove this user's scratch folders that nobody has locked."""
    with contextlib.suppress(OSError):
        for folder in [path for path in above.iterdir() if NAME.fullmatch(path.name)]:
            with contextlib.suppress(OSError):
                lock = _lock(folder)
                if lock is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    os.close(lock)


def _lock(folder: Path) -> int | None:
    """The descriptor of the folder, locked until it is closed; None: another user's, or Windows, which has no locks.

    Raises BlockingIOError (another process has it), OSError (no folder, or none that can be locked).
    """
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_uid == os.geteuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
    except OSError:
        os.close(handle)
        raise
    os.close(handle)
    return None
