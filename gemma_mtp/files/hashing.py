"""Hashes of files: sha256, and git's own sha1, which the Hub gives for small files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_CHUNK = 1 << 20


def content_hash(path: Path, etag: str, advance: Callable[[int], object] = lambda _: None) -> str:
    """The file's hash of the kind that `etag` is: sha256 (64 digits), or git's sha1 of a blob (40 digits).

    advance: hears of bytes done.
    """
    return _hash(path, hasher_like(etag, path.stat().st_size), advance)


def hasher_like(etag: str, size: int) -> hashlib._Hash:
    """For a hash of the kind that `etag` is, of a content of `size` bytes."""
    return hashlib.sha256() if len(etag) == 64 else git_hasher(size)


def sha256_of(path: Path, advance: Callable[[int], object] = lambda _: None) -> str:
    """advance: hears of bytes done."""
    return _hash(path, hashlib.sha256(), advance)


def git_hasher(size: int) -> hashlib._Hash:
    """git hashes a blob's size before its content."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _hash(path: Path, hasher: hashlib._Hash, advance: Callable[[int], object] = lambda _: None) -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
            advance(len(chunk))
    return hasher.hexdigest()
