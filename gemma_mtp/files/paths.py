"""Paths as people write them: what can be wrong with a path before anything is opened."""

from __future__ import annotations

import os
from pathlib import Path

from gemma_mtp.errors import BadFileError, UsageError


def given_path(text: str | os.PathLike[str]) -> Path:
    """The path that somebody wrote, `~` and `~user` resolved.

    Raises UsageError: a NUL in it, or a home folder that nobody knows.
    """
    written = os.fspath(text)
    if "\0" in written:
        raise UsageError("a path cannot hold the character NUL", where=written)
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        first = Path(written).parts[0]
        raise UsageError(
            f"the home folder of {first} is not known", where=written, hint=f"write ./{first} if a folder is named so"
        ) from error


def is_there(path: Path) -> bool:
    """Whether there is something at `path`. Raises BadFileError if the system cannot tell: too long, not readable."""
    try:
        return path.exists()
    except OSError as error:
        raise BadFileError(f"this path cannot be used: {error.strerror}", where=path) from error
