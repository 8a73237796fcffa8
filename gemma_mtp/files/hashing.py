"""Hashes of files: sha256, and git's own sha1, which the Hub gives for small files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gemma_mtp.files.reading import SourceFile
from gemma_mtp.progress import Advance, ignore


def content_hash(path: Path, etag: str, advance: Advance = ignore) -> str:
    """The file's hash of the kind that `etag` is: sha256 (64 digits), or git's sha1 of a blob (40 digits).

    advance: hears of bytes done. Raises BadFileError (no regular file, or cut off meanwhile), EnvironmentProblem.
    """
    with SourceFile(path) as file:
        return _hash(file, hasher_like(etag, file.size), advance)


def hasher_like(etag: str, size: int) -> hashlib._Hash:
    """For a hash of the kind that `etag` is, of a content of `size` bytes."""
    return hashlib.sha256() if len(etag) == 64 else git_hasher(size)


def sha256_of(path: Path, advance: Advance = ignore) -> str:
    """advance: hears of bytes done. Raises BadFileError (no regular file, or cut off meanwhile), EnvironmentProblem."""
    with SourceFile(path) as file:
        return _hash(file, hashlib.sha256(), advance)


def git_hasher(size: int) -> hashlib._Hash:
    """git hashes a blob's size before its content."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _hash(file: SourceFile, hasher: hashlib._Hash, advance: Advance = ignore) -> str:
    for piece in file.span(0, file.size).pieces():
        hasher.update(piece)
        advance(len(piece))
    return hasher.hexdigest()
