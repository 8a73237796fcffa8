"""What a model is called and where it is from, by one rule for every place it can stand at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gemma_mtp.hub.names import HASH
from gemma_mtp.model.file_name import FileName

SNAPSHOTS, REPO = "snapshots", "models--"


@dataclass(frozen=True)
class Origin:
    """A model's place on the Hub. hashes: file name -> sha256 or git's sha1, as far as known without reading."""

    repo: str | None = None
    revision: str | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)


#: Of what nothing is known about.
NOWHERE = Origin()


def origin_of(folder: Path) -> Origin:
    """Of a folder of the Hub's cache (models--OWNER--NAME/snapshots/COMMIT): its repo, its commit and its blobs' names.

    `NOWHERE` for any other folder.
    """
    path = folder.resolve()
    repo = path.parent.parent.name
    if path.parent.name != SNAPSHOTS or not repo.startswith(REPO):
        return NOWHERE
    blobs = {link.name: link.resolve().name for link in sorted(path.iterdir()) if link.is_symlink()}
    hashes = {name: blob for name, blob in blobs.items() if HASH.fullmatch(blob)}
    return Origin(repo.removeprefix(REPO).replace("--", "/"), path.name, hashes)


def model_name(place: Path, origin: Origin = NOWHERE) -> str:
    """What the model at a folder or a GGUF is called: after its repo, its folder, or its file."""
    if place.suffix == ".gguf":
        return FileName.parse(place).checkpoint
    repo = (origin if origin.repo else origin_of(place)).repo
    return repo.split("/")[-1] if repo else place.resolve().name
