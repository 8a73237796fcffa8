"""Reading files that others may change: regular files only, by offset, from any thread.

Nothing is mapped into memory: a mapped file that becomes shorter, or whose disk fails, kills the process with SIGBUS,
and no code can catch that. Reads into memory that is used again and again cost about what mapped pages do.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.errors import OF_THE_MACHINE, BadFileError, EnvironmentProblem, GemmaMtpError

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

#: Bytes that are read at once where all is read: they stay in a core's second-level cache.
PIECE = 1 << 20

#: What may have a name beside files and folders, as people are told.
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}

#: What to do about an error, where its text doesn't say it.
HINTS = {
    errno.ENOENT: "check the name and the folder",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EIO: "the disk or its connection fails: copy the file to another one, or get it again",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
}


class SourceFile:
    """A regular file, open for reading. Close it, use it as a context manager, or let the last reference go.

    size: when it was opened. Nothing behind that is read.
    """

    def __init__(self, path: str | Path, broken: type[BadFileError] = BadFileError):
        """Raises `broken` for what is no regular file or may not be read, EnvironmentProblem for a failing disk."""
        self.path, self._broken = Path(path), broken
        try:
            self._refuse_special(os.stat(path).st_mode)
            # A FIFO that takes the file's place just now must not make us wait for its writer.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            self._handle = os.open(path, flags)
        except (OSError, ValueError) as error:
            raise self._problem(error) from error
        self._closing = weakref.finalize(self, os.close, self._handle)
        now = os.fstat(self._handle)
        self._refuse_special(now.st_mode)
        self.size = now.st_size

    def _refuse_special(self, mode: int) -> None:
        if not stat.S_ISREG(mode):
            what = KINDS.get(stat.S_IFMT(mode), "something special")
            raise self._broken(f"this is {what}, no file", where=self.path, hint="name a regular file")

    def _problem(self, error: OSError | ValueError) -> GemmaMtpError:
        if isinstance(error, ValueError):  # a zero byte in its name
            return self._broken(f"cannot be read: {error}", where=str(self.path).replace("\0", "\\0"))
        kind = EnvironmentProblem if error.errno in OF_THE_MACHINE else self._broken
        return kind(f"cannot be read: {error.strerror}", where=self.path, hint=HINTS.get(error.errno or 0))

    def read_into(self, room: Bytes, offset: int) -> None:
        """Fill `room` with the bytes from `offset` on.

        Raises `broken` if the file has become too short for that, EnvironmentProblem for a failing disk.
        """
        if not self._closing.alive:
            raise ValueError(f"{self.path} is closed")
        view, done = room.data, 0
        while done < len(view):
            try:
                count = _read_some(self._handle, view[done:], offset + done)
            except OSError as error:
                raise self._problem(error) from error
            if not count:
                raise self._broken(
                    f"the file became shorter while it was read: it ends at byte {offset + done:,}, "
                    f"{self.size:,} bytes were there",
                    where=self.path,
                    hint="wait until nothing writes to it any more, or get it again",
                )
            done += count

    def read(self, offset: int, count: int) -> Bytes:
        """uint8 [count], in memory of its own. Raises as `read_into` does."""
        room = np.empty(count, np.uint8)
        self.read_into(room, offset)
        return room

    def span(self, offset: int, nbytes: int) -> Span:
        return Span(self, offset, nbytes)

    def close(self) -> None:
        self._closing()

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


@dataclass(frozen=True)
class Span:
    """Bytes of a file that can be read while it is open."""

    file: SourceFile
    offset: int
    nbytes: int

    def read_into(self, room: Bytes, start: int) -> None:
        """Fill `room` with the bytes from the span's byte `start` on. Raises as `SourceFile.read_into` does."""
        self.file.read_into(room, self.offset + start)

    def read(self) -> Bytes:
        """All of it, in memory of its own."""
        return self.file.read(self.offset, self.nbytes)

    def pieces(self) -> Iterator[memoryview]:
        """All of it, in order. A piece is valid until the next is asked for."""
        room = np.empty(min(PIECE, self.nbytes), np.uint8)
        for start in range(0, self.nbytes, PIECE):
            piece = room[: min(PIECE, self.nbytes - start)]
            self.read_into(piece, start)
            yield piece.data


_seeking = threading.Lock()


def _read_some(handle: int, room: memoryview, offset: int) -> int:
    """Read what is there at `offset`, at most as much as there is room for; 0 at the end. Raises OSError."""
    if hasattr(os, "preadv"):
        return os.preadv(handle, [room], offset)
    with _seeking:  # Windows and older macOS: a descriptor has but one place
        os.lseek(handle, offset, os.SEEK_SET)
        data = os.read(handle, len(room))
    room[: len(data)] = data
    return len(data)
