"""The layout of huggingface_hub's cache, so that what we download is found by every other tool, and the reverse.

    models--owner--name/blobs/<etag>                 content; the etag is the sha256, or the git sha1 of a small file
    models--owner--name/snapshots/<commit>/<file>    links to the blobs
    models--owner--name/refs/<revision>              the commit that a branch or tag stood for

(huggingface_hub's documentation, "Understand caching".) A blob takes its name only when its content has that hash.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RepoCache:
    """One repo's folder in the cache."""

    root: Path

    @classmethod
    def of(cls, repo: str) -> RepoCache:
        return cls(Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}")

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    def blob(self, etag: str) -> Path:
        return self.blobs / etag

    def lock(self, etag: str) -> Path:
        """The lock that huggingface_hub, too, takes for a blob."""
        lock = self.root.parent / ".locks" / self.root.name / f"{etag}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock

    def snapshot(self, commit: str) -> Path:
        return self.root / "snapshots" / commit

    def link(self, commit: str, file: str, etag: str) -> Path:
        """Make the blob visible under its file name; a copy where links are impossible."""
        pointer, blob = self.snapshot(commit) / file, self.blob(etag)
        if pointer.exists():
            return pointer
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)  # a dangling link
        try:
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:
            shutil.copyfile(blob, pointer)
        return pointer

    def remember(self, revision: str, commit: str) -> None:
        """Note which commit a branch or tag stands for, so that it is found without the network."""
        if revision == commit:
            return
        ref = self.root / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)

    def recall(self, revision: str) -> str | None:
        """The commit that a revision stood for when it was last looked up."""
        if _COMMIT.fullmatch(revision):
            return revision
        ref = self.root / "refs" / revision
        return ref.read_text().strip() if ref.is_file() else None
