"""Where an assistant comes from, looked at but not downloaded: its name, and a hash of each of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gemma_mtp.errors import BadFileError, EnvironmentProblem, UsageError
from gemma_mtp.hub.download import checkpoint_files, fetch_checkpoint, fetch_file, is_checkpoint_file, look_up
from gemma_mtp.hub.remote import find_remote_gguf
from gemma_mtp.hub.source import Source, parse_source
from gemma_mtp.make.manifest import Stamp
from gemma_mtp.model.family import FAMILY, Family, family_named, family_of_checkpoint, read_model
from gemma_mtp.model.file_name import parse_published
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.opening import names_checkpoint, open_model, require_checkpoint
from gemma_mtp.sources.origin import model_name
from gemma_mtp.sources.splits import MERGE_PARTS, split_parts

#: The stamps, by path, that were taken when the drafter of this name and family was last made.
Known = Callable[[str, Family], Mapping[str, Stamp]]


@dataclass(frozen=True)
class Material:
    """What an assistant is made from, as it is now.

    place: as the user named it; commit: the state of it that was seen, if it is on the Hub. name: the assistant's,
    `gemma-4-31B-it-assistant`. files: name -> hash, of all that is read. dialect: a GGUF's; None for a checkpoint.
    stamps: of local files, to know them again. family: of the drafter.
    """

    place: Source
    name: str
    files: Mapping[str, str]
    dialect: str | None = None
    commit: str | None = None
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    family: Family = FAMILY

    @property
    def borrows(self) -> bool:
        """Whether its checkpoint has no tokenizer, and its files get the target's."""
        return self.family is not FAMILY

    def fetch(self, progress: Progress, deep: bool = False) -> Path:
        """The checkpoint's folder, or the GGUF, on this machine. deep: see `fetch_file`, as for what is raised."""
        if self.dialect is not None:
            return fetch_file(self.place, progress=progress, deep=deep)
        fetched = fetch_checkpoint(self.place, progress=progress, deep=deep)
        if fetched.hashes and fetched.hashes != self.files:
            raise EnvironmentProblem("the repo changed in the meantime", where=fetched.repo, hint="run it again")
        return fetched.folder


def look_at(source: str, known: Known, name: str | None = None, progress: Progress = silent) -> Material:
    """What is at `source`. known: the stamps of local files whose content need not be hashed again.

    name: the assistant's, if it is not to be called after its source. progress: of the hashing.

    Raises UsageError, BadFileError (no assistant), EnvironmentProblem (Hub, network).
    """
    place = parse_source(source)
    if place.path is None:
        return _on_the_hub(place, name)
    if place.path.is_file():
        return _local_gguf(place, place.path, known, name, progress)
    folder = place.path.resolve()
    require_checkpoint(place, folder)
    model = read_model(folder)
    if model.part != Part.ASSISTANT:
        raise BadFileError("this is a target; make is for assistants", where=folder, hint="gemma-mtp convert does that")
    paths = [path for path in sorted(folder.iterdir()) if is_checkpoint_file(path.name)]
    name = name or model_name(folder)
    before = known(name, family_named(model.family))
    stamps = {str(path): Stamp.of(path, before.get(str(path)), progress) for path in paths}
    files = {path.name: stamps[str(path)].sha256 for path in paths}
    return Material(place, name, files, stamps=stamps, family=family_named(model.family))


def _on_the_hub(place: Source, name: str | None) -> Material:
    assert place.repo is not None
    listing = look_up(place)
    if names_checkpoint(place, listing):
        files_there = {file.name: file.etag for file in checkpoint_files(listing)}
        own = place.repo.split("/")[1]
        family = family_of_checkpoint(own)
        return Material(place, name or own, files_there, commit=listing.commit, family=family)
    file, *more = find_remote_gguf(place, Part.ASSISTANT, listing)
    _require_whole(str(place), more)
    assert file.file is not None
    etag = listing.files[file.file].etag
    dialect, family = _spoken(str(file))
    return Material(file, name or _gguf_name(file.file), {file.file: etag}, dialect, family=family)


def _local_gguf(place: Source, path: Path, known: Known, name: str | None, progress: Progress) -> Material:
    _require_whole(str(place), split_parts(path)[1:])
    key, name = str(path.resolve()), name or _gguf_name(path.name)
    dialect, family = _spoken(path)
    stamp = Stamp.of(path, known(name, family).get(key), progress)
    return Material(place, name, {path.name: stamp.sha256}, dialect, stamps={key: stamp}, family=family)


def _require_whole(place: str, more: Sequence[object]) -> None:
    """Raises UsageError for a split model: `more` are its parts but the first."""
    if more:
        raise UsageError("this GGUF is split; make needs a single file", where=place, hint=MERGE_PARTS)


def _gguf_name(file: str) -> str:
    return parse_published(file.rsplit("/", 1)[-1]).checkpoint


def _spoken(place: str | Path) -> tuple[str, Family]:
    """The dialect of a drafter's GGUF, and its family."""
    with open_model(place, Part.ASSISTANT) as side:
        if side.actual_part != Part.ASSISTANT or side.dialect is None:
            raise BadFileError("this is no assistant; make is for assistants", where=str(place))
        return side.dialect.name, side.family
