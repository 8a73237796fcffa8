"""The layout of huggingface_hub's cache, so that what we download is found by every other tool, and the reverse.

    models--owner--name/blobs/<etag>                 content; the etag is the sha256, or the git sha1 of a small file
    models--owner--name/snapshots/<commit>/<file>    links to the blobs
    models--owner--name/refs/<revision>              the commit that a branch or tag stood for
    models--owner--name/gemma-mtp.json               ours: the blobs whose content was compared with their hash

(huggingface_hub's documentation, "Understand caching".) A blob takes its name only when its content has that hash.
Whatever becomes a path here was named by a server, and is checked (`gemma_mtp.hub.names`).
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from gemma_mtp.errors import BadFileError, EnvironmentProblem, UsageError
from gemma_mtp.files.atomic import atomic_output, write_whole
from gemma_mtp.files.reading import PIECE
from gemma_mtp.files.text import read_json, read_text
from gemma_mtp.hub.names import COMMIT, HASH, require_commit, require_hash, require_inside

#: The notes on what was compared, beside the blobs: deleting the repo's folder deletes them, too.
NOTES = "gemma-mtp.json"


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
        return self.blobs / require_hash(etag)

    def partial(self, etag: str) -> Path:
        """The unfinished download of a blob."""
        return self.blobs / f"{require_hash(etag)}.partial"

    def lock(self, etag: str) -> Path:
        """The lock that huggingface_hub, too, takes for a blob."""
        lock = self.root.parent / ".locks" / self.root.name / f"{require_hash(etag)}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock

    def snapshot(self, commit: str) -> Path:
        return self.root / "snapshots" / require_commit(commit)

    def link(self, commit: str, file: str, etag: str) -> Path:
        """Make the blob visible under its file name; a copy where links are impossible."""
        pointer = self.snapshot(commit) / require_inside(file)
        if pointer.exists():
            return pointer
        blob = self.blob(etag)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileExistsError):
                pointer.symlink_to(os.path.relpath(blob, pointer.parent))
            if not pointer.exists():  # a dangling link stood there; else another process was faster
                pointer.unlink(missing_ok=True)
                pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        if not pointer.exists():
            with blob.open("rb") as source, atomic_output(pointer, size=blob.stat().st_size, force=True) as copy:
                while piece := source.read(PIECE):
                    copy.write(piece)
        return pointer

    def remember(self, revision: str, commit: str) -> None:
        """Note which commit a branch or tag stands for, so that it is found without the network."""
        if self.recall(revision) == commit:
            return
        ref = self.root / "refs" / require_inside(revision)
        ref.parent.mkdir(parents=True, exist_ok=True)
        self._write(ref, require_commit(commit))

    def recall(self, revision: str) -> str | None:
        """The commit that a revision stood for when it was last looked up."""
        if COMMIT.fullmatch(revision):
            return revision
        ref = self.root / "refs" / require_inside(revision)
        try:
            commit = read_text(ref).strip()
        except BadFileError:  # there is none, or it is no text
            return None
        return commit if COMMIT.fullmatch(commit) else None

    def is_compared(self, etag: str) -> bool:
        """Whether the blob was found to have its hash, and has had the same size and time of change since."""
        return self._notes().get(etag) == _stamp(self.blob(etag))

    def note_compared(self, etag: str, equal: bool) -> None:
        """Remember that the blob has its hash, or forget it. Without notes it is compared each time."""
        notes = {known: stamp for known, stamp in self._notes().items() if (self.blobs / known).exists()}
        notes.pop(etag, None)
        if equal:
            notes[etag] = _stamp(self.blob(etag))
        with contextlib.suppress(EnvironmentProblem, UsageError):
            self._write(self.root / NOTES, json.dumps({"compared": notes}, indent=1))

    @staticmethod
    def _write(path: Path, text: str) -> None:
        """Small files of the cache appear whole, too, whoever else writes them. Raises EnvironmentProblem."""
        write_whole(path, text.encode(), force=True)

    def _notes(self) -> dict[str, list[int]]:
        """etag -> size and time of change of the blobs that were compared. Damaged notes are none."""
        try:
            notes = read_json(self.root / NOTES)["compared"]
        except (BadFileError, KeyError, TypeError):
            return {}
        known = notes.items() if isinstance(notes, dict) else ()
        return {etag: stamp for etag, stamp in known if HASH.fullmatch(etag)}


def _stamp(blob: Path) -> list[int]:
    """By what a blob is known again without being read: its size and the time of its last change."""
    found = blob.stat()
    return [found.st_size, found.st_mtime_ns]
