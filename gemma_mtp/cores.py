"""How many cores there are to use: what every `threads=None` means."""

from __future__ import annotations

import os


def available_cores() -> int:
    """The CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity call
        return os.cpu_count() or 1
