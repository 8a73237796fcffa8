"""Output files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import secrets
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.files.direct import DirectFile, translate_os_errors, writing_problem
from gemma_mtp.files.reading import KINDS

#: Bytes of a file's name, as most file systems have it.
LONGEST_NAME = 255
#: What an unfinished file's name has beside its output's: two dots and eight digits, and the ending.
PART = ".part"
DIGITS = 8
#: Folders whose names stand for devices and open files, and the folder of which that is true all the way down.
OF_THE_SYSTEM, PROCESSES = (Path("/dev"), Path("/dev/fd")), Path("/proc")


def check_output(path: Path, force: bool) -> None:
    """Refuse, before any work is done, an output that exists (without `force`), is no regular file or has no folder.

    Raises UsageError, and EnvironmentProblem for a folder that may not be looked into.
    """
    mode, folder = _mode_of(path), path.parent
    if mode is not None and not stat.S_ISREG(mode):
        raise UsageError(f"this is {KINDS.get(stat.S_IFMT(mode), 'something special')}; name a file", where=path)
    above = _mode_of(folder)
    if above is None:
        hint = shlex.join(["mkdir", "-p", str(folder)])
        raise UsageError("the folder does not exist", where=folder, hint=hint)
    if not stat.S_ISDIR(above):
        raise UsageError("this is no folder", where=folder, hint="name another")
    real = folder.resolve()
    if real in OF_THE_SYSTEM or real.is_relative_to(PROCESSES):
        raise UsageError("this folder is for the system's own files", where=folder, hint="name another")
    if mode is not None and not force:
        raise UsageError("the file exists already", where=path, hint="add --force to replace it")


def check_outputs(paths: Sequence[Path], force: bool) -> None:
    """Refuse what `check_output` refuses, and a name that stands there twice. Raises as it does."""
    for index, path in enumerate(paths):
        check_output(path, force)
        if path in paths[:index]:
            raise UsageError("two outputs have this name", where=path, hint="name another for one of them")


def _mode_of(path: Path) -> int | None:
    """The `st_mode` of what is there, symbolic links followed; None if nothing is."""
    try:
        return path.stat().st_mode
    except ValueError as error:  # a zero byte in its name
        raise UsageError(f"this names no file: {error}", where=str(path).replace("\0", "\\0")) from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UsageError(f"this names no file: {error.strerror}", where=path, hint="name another") from error
        raise writing_problem(error, path) from error


@contextlib.contextmanager
def atomic_output(path: Path, *, size: int, force: bool = False) -> Iterator[DirectFile]:
    """A file that takes the name `path` when the block ends well, and vanishes when it does not.

    It is written in the same folder, flushed to disk and renamed. `size` is what it will need, in bytes. What a
    killed process has left of the same output is removed. Without `force`, a file that another process has put there
    meanwhile is kept as well.

    Raises UsageError (see `check_output`), EnvironmentProblem (no room, not writable).
    """
    check_output(path, force)
    with translate_os_errors(path):
        free = shutil.disk_usage(path.parent).free
    if size > free:
        raise EnvironmentProblem(
            f"{size / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free", where=path.parent, hint="make room"
        )
    with _unfinished(path) as (part, raw):
        with DirectFile(raw.fileno(), path, size) as file:
            yield file
        with translate_os_errors(path):
            part.chmod(0o666 & ~current_umask())  # fails if the folder has gone
            check_output(path, force)
            _put_in_place(part, raw, path, force)


def write_whole(path: Path, content: bytes, *, force: bool = False) -> None:
    """A file with this content. Raises as `atomic_output` does."""
    with atomic_output(path, size=len(content), force=force) as file:
        file.write(content)


def keep(path: Path, content: bytes) -> None:
    """The same in a folder of things that can be made again, as well as it goes: what cannot be kept is forgotten."""
    with contextlib.suppress(OSError, EnvironmentProblem, UsageError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, force=True)


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[tuple[Path, FileIO]]:
    """A new file beside `path`, locked while it is open. In the end its name is removed, if it still has it."""
    part, raw = path, None
    try:
        with translate_os_errors(path):
            _remove_abandoned(path)
            while raw is None:
                part = path.with_name(f".{_stem(path)}.{secrets.token_hex(DIGITS // 2)}{PART}")
                raw = FileIO(part, "x+", opener=_private)  # the name is known before: a signal now leaves nothing
                if not _is_ours(part, raw):
                    _discard(part, raw)
                    raw = None
        yield part, raw
    finally:
        if part != path:
            _discard(part, raw)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _discard(part: Path, raw: FileIO | None) -> None:
    with contextlib.suppress(OSError):  # its folder may be gone
        part.unlink()
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.close()


def _stem(path: Path) -> str:
    """The output's name as it stands in an unfinished file's; its hash where that would be too long."""
    name = os.fsencode(path.name)
    room = LONGEST_NAME - DIGITS - len(PART) - 2
    return path.name if len(name) <= room else hashlib.sha256(name).hexdigest()


def _lock(file: FileIO) -> None:
    """Lock a file for as long as it is open. Raises BlockingIOError (another has it), OSError (no locks here)."""
    if sys.platform != "win32":  # no file that is open can be removed there: that is lock enough
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_ours(part: Path, file: FileIO) -> bool:
    """Lock a new file; False if another process's clean-up has come upon it before, and takes it for abandoned."""
    try:
        _lock(file)
    except BlockingIOError:
        return False
    except OSError:
        return True  # without locks nobody's clean-up can have one
    return part.exists()


def _remove_abandoned(path: Path) -> None:
    """Remove unfinished files for the output `path` that nobody is writing any more."""
    for part in path.parent.glob(f".{glob.escape(_stem(path))}.{'?' * DIGITS}{PART}"):
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                part.unlink()
                continue
            with FileIO(part, "r+") as file:
                _lock(file)
                part.unlink()  # before the lock goes: nobody can have begun to write it


def _put_in_place(part: Path, file: FileIO, path: Path, force: bool) -> None:
    """Give the finished file its name, before its lock goes: a clean-up in between would take it away."""
    if sys.platform == "win32":
        file.close()
    if not force:
        with contextlib.suppress(OSError):  # the name is taken, or the file system has no second names
            os.link(part, path)
            return
        check_output(path, force)
    part.replace(path)


def current_umask() -> int:
    """The process's umask (which can only be read by setting it)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
