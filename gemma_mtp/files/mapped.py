"""A file as memory, whose pages are let go when they have been read.

A mapped page counts as this process's memory until the system wants it back, and a checkpoint may have 60 GB. Whoever
streams a tensor says how far it is; what lies behind is dropped, and would be read again from the file if asked for.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: Told of numbers of bytes that were just done, in order.
Done = Callable[[int], None]

_DROP = getattr(mmap, "MADV_DONTNEED", None)  # absent on Windows, where the system does without advice


class MappedFile:
    """A file, mapped read-only. Views keep the map alive; it is closed when the last of them goes."""

    def __init__(self, path: Path):
        """Raises OSError, and ValueError for an empty file, which cannot be mapped."""
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._map)

    def view(self) -> memoryview:
        return memoryview(self._map)

    def bytes(self, offset: int, nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """uint8 [nbytes], a read-only view."""
        return np.frombuffer(self._map, np.uint8, nbytes, offset)

    def forgetting(self, offset: int) -> Done:
        """For a reader that goes from byte `offset` on: told how many bytes it has done, lets their pages go."""
        dropped = position = offset

        def done(count: int) -> None:
            nonlocal dropped, position
            position += count
            start, end = (place - place % mmap.PAGESIZE for place in (dropped, position))
            if _DROP is not None and end > start:
                self._map.madvise(_DROP, start, end - start)
                dropped = end

        return done
