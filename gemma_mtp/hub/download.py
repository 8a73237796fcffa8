"""Repos and files from the Hub, into huggingface_hub's own cache: resumable, with the content's hash compared.

huggingface_hub 2.x starts an interrupted file again from nothing and compares a file's length only; a checkpoint is
too big for the one and too precious for the other. So the bytes are fetched here: an unfinished file stays as
`<hash>.partial` and goes on where it ended, and takes its place in the cache when its hash is what the Hub says.

Each file is hashed once: while it arrives, or when it is first met in a cache that another tool filled. The cache
remembers it by size and time of change; what changes a file behind both (a failing disk) is found with `deep`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.utils import WeakFileLock

from gemma_mtp.errors import BadFileError, EnvironmentProblem, UsageError
from gemma_mtp.files.hashing import content_hash, hasher_like
from gemma_mtp.hub.cache import RepoCache
from gemma_mtp.hub.client import hub, hub_stream, is_transient, retried
from gemma_mtp.hub.discovery import is_model
from gemma_mtp.hub.names import HASH, require_commit, require_hash, require_inside
from gemma_mtp.hub.problems import TransportError, explained
from gemma_mtp.hub.source import Source, parse_source
from gemma_mtp.progress import Advance, Progress, silent

LOG = logging.getLogger(__name__)

#: What `convert` reads, all at a repo's root: config, tokenizer, weights, and the card for the licence and the names.
CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "*.safetensors",
    "*.safetensors.index.json",
    "README.md",
)
_CHUNK = 1 << 20
_SPARE_ROOM = 64 << 20  # bytes that a download leaves free on the disk


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repo. `etag` is the sha256 of a large (LFS) file, git's sha1 of a small one.

    It is empty for a file of the cache that is no link to a blob.
    """

    name: str
    size: int
    etag: str

    def __post_init__(self) -> None:
        """Raises EnvironmentProblem for a name that leads out of the repo, and for what is no hash or size."""
        require_inside(self.name)
        if self.etag:
            require_hash(self.etag)
        if not isinstance(self.size, int) or self.size < 0:
            raise EnvironmentProblem(f"the server gives no size in bytes: {self.size!r}", where=self.name)


@dataclass(frozen=True)
class Listing:
    """What a repo holds at a commit. private: as far as the Hub told."""

    repo: str
    commit: str
    files: dict[str, RemoteFile]
    private: bool = False

    def __post_init__(self) -> None:
        """Raises EnvironmentProblem for what is no commit."""
        require_commit(self.commit)


@dataclass(frozen=True)
class FetchedCheckpoint:
    """A checkpoint on this machine. `repo`, `revision` (a commit) and `hashes` are those of the Hub; absent if local.

    hashes: file name -> sha256, or git's sha1 for a small file.
    """

    folder: Path
    repo: str | None = None
    revision: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)


def fetch_checkpoint(source: Source | str, *, progress: Progress = silent, deep: bool = False) -> FetchedCheckpoint:
    """The folder of a checkpoint, downloaded if it is on the Hub.

    deep: hash what the cache has again, even if it has not changed since it was hashed.
    Raises UsageError (a file, not a repo), EnvironmentProblem (Hub, network, disk), BadFileError (no checkpoint).
    """
    source = parse_source(source) if isinstance(source, str) else source
    if source.path is not None:
        return FetchedCheckpoint(source.path)
    if source.file or source.quant:
        raise UsageError("this names a GGUF file, not a checkpoint", where=str(source), hint=f"write {source.repo}")
    listing = look_up(source)
    wanted = checkpoint_files(listing)
    folder = _fetch(listing, wanted, source.revision, progress, deep)
    return FetchedCheckpoint(folder, listing.repo, listing.commit, {file.name: file.etag for file in wanted})


def fetch_without_weights(source: Source, listing: Listing) -> tuple[Path, list[RemoteFile]]:
    """The folder with a checkpoint's config, tokenizer and card, and these files; the weights stay on the Hub.

    Raises EnvironmentProblem (Hub, network, disk), BadFileError (no checkpoint).
    """
    small = [file for file in checkpoint_files(listing) if not file.name.endswith(".safetensors")]
    return _fetch(listing, small, source.revision, silent), small


def is_checkpoint(listing: Listing) -> bool:
    """Whether the repo holds a checkpoint at its root."""
    return "config.json" in listing.files and any(
        name.endswith(".safetensors") and "/" not in name for name in listing.files
    )


def fetch_file(source: Source | str, *, progress: Progress = silent, deep: bool = False) -> Path:
    """One file, downloaded if it is on the Hub (`hf://owner/repo/file`); a local path is returned as it is.

    deep: hash it again if the cache has it, even if it has not changed since it was hashed.
    Raises UsageError (no file named), EnvironmentProblem (Hub, network, disk, or no such file there).
    """
    source = parse_source(source) if isinstance(source, str) else source
    if source.path is not None:
        return source.path
    if source.file is None:
        raise UsageError("name one file of the repo", where=str(source), hint=f"write hf://{source.repo}/file.gguf")
    listing = look_up(source)
    return fetch_files(listing, [source.file], source.revision, progress=progress, deep=deep) / source.file


def fetch_files(
    listing: Listing, names: Sequence[str], revision: str | None, *, progress: Progress = silent, deep: bool = False
) -> Path:
    """Files of a repo, such as the parts of a split GGUF; the folder that they are in under their names.

    Raises UsageError (no such file there), EnvironmentProblem (Hub, network, disk).
    """
    missing = next((name for name in names if name not in listing.files), None)
    if missing is not None:
        raise no_such_file(listing, missing)
    return _fetch(listing, [listing.files[name] for name in names], revision, progress, deep)


def look_up(source: Source) -> Listing:
    """What the repo holds: on the Hub, or with HF_HUB_OFFLINE in the cache. Raises EnvironmentProblem."""
    if not constants.is_offline_mode():
        return list_repo(source)
    with explained(source.repo):
        return _cached_listing(source)


def list_repo(source: Source) -> Listing:
    """What the repo holds at the source's revision, in one request. Raises EnvironmentProblem."""
    repo = source.repo
    assert repo is not None
    with explained(repo):
        info = retried(lambda: hub().model_info(repo, revision=source.revision, files_metadata=True))
        files = {}
        for entry in info.siblings or []:
            etag = entry.lfs.sha256 if entry.lfs else entry.blob_id
            if entry.size is None or not etag:
                raise ValueError(f"no size or hash is given for {entry.rfilename}")
            files[entry.rfilename] = RemoteFile(entry.rfilename, entry.size, etag)
        return Listing(repo, require_commit(info.sha), files, bool(info.private))


def no_such_file(listing: Listing, wanted: str) -> UsageError:
    """The complaint about a file that the repo does not have, with those of its kind that it has."""
    ending = Path(wanted).suffix
    there = [name for name in listing.files if name.endswith(ending)]
    has = f"its {ending} files are: {', '.join(there[:8])}" if there else f"it has no {ending} files"
    return UsageError(f"the repo has no file {wanted}", where=listing.repo, hint=has)


def _cached_listing(source: Source) -> Listing:
    """What the cache holds of a repo. A blob's name is its hash; a file that is no link has none to compare with."""
    assert source.repo is not None
    cache, revision = RepoCache.of(source.repo), source.revision or constants.DEFAULT_REVISION
    commit = cache.recall(revision)
    if commit is None or not cache.snapshot(commit).is_dir():
        raise EnvironmentProblem(
            "HF_HUB_OFFLINE is set, and this is not in the cache",
            where=str(source),
            hint=f"unset HF_HUB_OFFLINE, or download it before: hf download {source.repo}",
        )
    snapshot, files = cache.snapshot(commit), {}
    for path in sorted(snapshot.rglob("*")):
        if path.is_file():
            name, blob = path.relative_to(snapshot).as_posix(), path.resolve().name
            etag = blob if path.is_symlink() and HASH.fullmatch(blob) else ""
            files[name] = RemoteFile(name, path.stat().st_size, etag)
    return Listing(source.repo, commit, files)


def checkpoint_files(listing: Listing) -> list[RemoteFile]:
    """The files of a repo that make a checkpoint. Raises BadFileError if there is none."""
    wanted = [file for file in listing.files.values() if is_checkpoint_file(file.name)]
    _require_checkpoint(listing, [file.name for file in wanted])
    return wanted


def is_checkpoint_file(name: str) -> bool:
    """Whether `convert` reads a file of this name in a checkpoint's folder or repo."""
    return any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in CHECKPOINT_FILES)


def _require_checkpoint(listing: Listing, wanted: list[str]) -> None:
    for kind, ending in (("config.json", "config.json"), ("safetensors weights", ".safetensors")):
        if not any(name.endswith(ending) for name in wanted):
            # A checkpoint is asked for to convert it, and of GGUF files only an assistant can be converted.
            ggufs = sorted((name for name in listing.files if name.endswith(".gguf")), key=is_model)
            hint = (
                f"it has GGUF files; name one, as in hf://{listing.repo}/{ggufs[0]}"
                if ggufs
                else "name a repo with config.json and safetensors files at its root"
            )
            raise BadFileError(f"the repo is no checkpoint: it has no {kind}", where=listing.repo, hint=hint)


def _fetch(
    listing: Listing, files: list[RemoteFile], revision: str | None, progress: Progress, deep: bool = False
) -> Path:
    """Bring the files into the cache, with the hash of each compared once (deep: again); the snapshot's folder."""
    cache = RepoCache.of(listing.repo)
    with explained(listing.repo):
        missing = _missing(cache, listing.repo, [file for file in files if file.etag], progress, deep)
        _require_room(cache, missing)
        if missing:
            with progress(f"downloading {listing.repo}", sum(file.size for file in missing)) as advance:
                for file in missing:
                    _fetch_blob(cache, listing, file, advance)
        for file in files:
            cache.link(listing.commit, file.name, file.etag)
        cache.remember(revision or constants.DEFAULT_REVISION, listing.commit)
    return cache.snapshot(listing.commit)


def _missing(
    cache: RepoCache, repo: str, files: Sequence[RemoteFile], progress: Progress, deep: bool
) -> list[RemoteFile]:
    """Those of the files that the cache has not, or has with other content."""
    there = [file for file in files if _has_size(cache, file)]
    LOG.debug("%s of %s files of %s are in the cache", len(there), len(files), repo)
    unknown = [file for file in there if deep or not cache.is_compared(file.etag)]
    damaged = set()
    if unknown:
        with progress(f"hashing {repo} in the cache", sum(file.size for file in unknown)) as advance:
            damaged = {file.etag for file in unknown if not _compare(cache, file, advance)}
    found = {file.etag for file in there} - damaged
    return [file for file in files if file.etag not in found]


def _has_size(cache: RepoCache, file: RemoteFile) -> bool:
    path = cache.blob(file.etag)
    return path.is_file() and path.stat().st_size == file.size


def _compare(cache: RepoCache, file: RemoteFile, advance: Advance) -> bool:
    """Whether the blob has its hash, which is remembered."""
    equal = content_hash(cache.blob(file.etag), file.etag, advance) == file.etag
    cache.note_compared(file.etag, equal)
    return equal


def _require_room(cache: RepoCache, missing: list[RemoteFile]) -> None:
    cache.blobs.mkdir(parents=True, exist_ok=True)
    partial = (cache.partial(file.etag) for file in missing)
    needed = sum(file.size for file in missing) - sum(path.stat().st_size for path in partial if path.exists())
    free = shutil.disk_usage(cache.blobs).free
    if missing and needed + _SPARE_ROOM > free:
        raise EnvironmentProblem(
            f"the download needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free",
            where=cache.blobs,
            hint="make room, or point HF_HOME to another disk",
        )


def _fetch_blob(cache: RepoCache, listing: Listing, file: RemoteFile, advance: Advance) -> None:
    """One file's bytes into its blob, from where an earlier attempt ended; two processes take turns."""
    url = hf_hub_url(listing.repo, file.name, revision=listing.commit, endpoint=constants.ENDPOINT)
    with WeakFileLock(cache.lock(file.etag)):
        if _has_size(cache, file) and cache.is_compared(file.etag):  # another process was faster
            advance(file.size)
            return
        LOG.info("downloading %s of %s, %s bytes", file.name, listing.repo, f"{file.size:,}")
        arrival = Arrival(cache.partial(file.etag), file, advance)
        arrival.complete(url)
        found = arrival.hash()
        if found != file.etag:
            arrival.path.unlink()
            raise EnvironmentProblem(
                f"{file.name} arrived with other content than the Hub has: its hash is {found}, not {file.etag}",
                where=listing.repo,
                hint="run it again; if it persists, a proxy or mirror in between changes the content",
            )
        arrival.path.replace(cache.blob(file.etag))
        cache.note_compared(file.etag, True)


class Arrival:
    """A file on its way: what has come of it is at `path`, and is hashed as it comes."""

    def __init__(self, path: Path, file: RemoteFile, advance: Advance):
        self.path, self.file, self._advance = path, file, advance
        self._hasher = hasher_like(file.etag, file.size)
        self._hashed = 0
        path.touch()

    def complete(self, url: str) -> None:
        """Fetch what is missing; a connection that breaks is forgiven as long as bytes come."""
        self._catch_up(self._advance)
        while (before := self._size()) < self.file.size:
            try:
                retried(lambda: self._append_rest(url))
            except TransportError as error:
                if self._size() == before or not is_transient(error):
                    raise

    def hash(self) -> str:
        """Of all that is at `path`."""
        self._catch_up()
        return self._hasher.hexdigest()

    def _size(self) -> int:
        return self.path.stat().st_size

    def _catch_up(self, advance: Advance = lambda _: None) -> None:
        """Hash what is there and is not hashed yet: an earlier attempt's. advance: hears of its bytes."""
        if self._size() < self._hashed:
            self._hasher, self._hashed = hasher_like(self.file.etag, self.file.size), 0
        with self.path.open("rb") as file:
            file.seek(self._hashed)
            while chunk := file.read(_CHUNK):
                self._take(chunk, advance)

    def _take(self, chunk: bytes, advance: Advance) -> None:
        self._hasher.update(chunk)
        self._hashed += len(chunk)
        advance(len(chunk))

    def _append_rest(self, url: str) -> None:
        """Fetch from the end of `path` to the end of the file. What has arrived stays if the connection breaks."""
        self._catch_up()
        start = self._size()
        with hub_stream(url, {"Range": f"bytes={start}-"} if start else {}) as response:
            resumed = response.status_code == 206
            if start and not resumed:  # the server ignores ranges and begins anew
                self._advance(-start)
            with self.path.open("ab" if resumed else "wb") as file:
                self._catch_up()
                for chunk in response.iter_bytes():  # no size: what has arrived is not held back
                    file.write(chunk)
                    self._take(chunk, self._advance)
                    if self._hashed > self.file.size:  # no end in sight: the hash will say what it is
                        break
