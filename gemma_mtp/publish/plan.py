"""What a push will do, found out without changing anything anywhere: a plan that can be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub.errors import RepositoryNotFoundError

from gemma_mtp.bench.results import read_results
from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.files.hashing import content_hash
from gemma_mtp.hub.download import Listing, fetch_file, list_repo
from gemma_mtp.hub.source import Source, check_repo_name, parse_source
from gemma_mtp.model.file_name import parse_published
from gemma_mtp.progress import Progress, silent
from gemma_mtp.publish.assistant_file import AssistantFile, read_assistant
from gemma_mtp.publish.bench_table import require_measured
from gemma_mtp.publish.card import read_card, write_card
from gemma_mtp.publish.checks import check_files, require_one_target, require_sound
from gemma_mtp.publish.collection import Shelf, find_collection
from gemma_mtp.publish.facts import Facts
from gemma_mtp.publish.preset_repo import (
    PRESET,
    existing_preset,
    git_sha1,
    merged,
    require_fit,
    require_no_preset,
    section,
)
from gemma_mtp.publish.proofs import prove_files
from gemma_mtp.validate import Report

CARD = "README.md"


@dataclass(frozen=True)
class PushRequest:
    """What the user asked for.

    collection: a title or a slug. target: a GGUF to check the files against (see `gemma_mtp.sources.opening`).
    bench: the file of `gemma-mtp bench --json`. base_model: the original checkpoint, where the files don't name it.
    reports: of files that were checked just now, against `target` if there is one. preset_repo: for a preset.ini.
    origin, imatrix: what each file must have been made of (see `gemma_mtp.publish.proofs`).
    """

    files: Sequence[Path]
    repo: str
    collection: str | None = None
    private: bool = False
    target: str | None = None
    bench: Path | None = None
    base_model: str | None = None
    skip_verify: bool = False
    reports: Mapping[str, Report] = field(default_factory=dict)
    preset_repo: str | None = None
    origin: str | None = None
    imatrix: str | None = None

    @property
    def owner(self) -> str:
        return self.repo.split("/")[0]


@dataclass(frozen=True)
class Upload:
    """One file of the commit to be. state: "new", "changed" or "unchanged"."""

    name: str
    content: Path | bytes
    size: int
    etag: str
    state: str


@dataclass(frozen=True)
class Plan:
    """What a push will do. head: the commit that it starts from; None if the repo has to be created.

    private: what the repo is, or will be. preset: what is done in the repo of the preset.ini, if one was asked for.
    """

    repo: str
    private: bool
    head: str | None
    uploads: Sequence[Upload]
    card: str
    shelf: Shelf | None
    note: str
    collection_exists: bool = False
    reports: Mapping[str, Report] = field(default_factory=dict)
    preset: Plan | None = None

    @property
    def pending(self) -> list[Upload]:
        return [upload for upload in self.uploads if upload.state != "unchanged"]

    def to_dict(self) -> dict[str, Any]:
        return {
            "repo": self.repo,
            "repo_is_new": self.head is None,
            "private": self.private,
            "files": [
                {"name": upload.name, "bytes": upload.size, "hash": upload.etag, "state": upload.state}
                for upload in self.uploads
            ],
            "collection": self.shelf.name if self.shelf else None,
            "collection_note": self.note if self.shelf else None,
            "card": self.card,
            "preset": self.preset.to_dict() if self.preset else None,
            "checks": {name: report.to_dict() for name, report in self.reports.items()},
        }


def plan_push(request: PushRequest, *, progress: Progress = silent) -> Plan:
    """Check the files, look at the repo, write the card; nothing is changed anywhere. progress: of hashing the files.

    Raises UsageError (names, arguments), GGUFError and BadFileError (files), EnvironmentProblem (Hub, network).
    """
    check_repo_name(request.repo)
    _require_meaning(request)
    if request.base_model is not None:
        check_repo_name(request.base_model)
    shelf = Shelf(request.collection, request.owner) if request.collection else None
    target = parse_source(request.target) if request.target else None
    bench = read_results(request.bench) if request.bench else None
    files = [read_assistant(path, progress=progress) for path in request.files]
    require_one_target(files)
    reports, proven = None if request.skip_verify else _reports(request, files), dict[str, str]()
    if reports and request.origin:
        reports, proven = prove_files(files, reports, request.origin, request.imatrix, progress)
    listing = _find_repo(request.repo)
    require_no_preset(listing)
    if listing and request.private and not listing.private:
        raise public_repo(request.repo)
    others = _other_assistants(listing, files)
    if bench:
        require_measured(bench, files, list(others))
    facts = Facts(request.repo, files, others, target, request.base_model, reports, bench, proven)
    card = write_card(facts, _existing_card(listing))
    content, types = card.encode(), sorted({*_types(files), *_types_of_names(others)})
    uploads = [_upload(listing, file.path.name, file.path, file.size, file.sha256) for file in files]
    uploads.append(_upload(listing, CARD, content, len(content), git_sha1(content)))
    return Plan(
        repo=request.repo,
        private=listing.private if listing else request.private,
        head=listing.commit if listing else None,
        uploads=uploads,
        card=card,
        shelf=shelf,
        note=f"{facts.kind} drafter for {facts.target_name}: {', '.join(types)}",
        collection_exists=bool(shelf and find_collection(shelf)),
        reports=reports or {},
        preset=_plan_preset(request, facts) if request.preset_repo else None,
    )


def _require_meaning(request: PushRequest) -> None:
    """Raises UsageError: options of which one takes the other's sense."""
    if request.origin and request.skip_verify:
        raise UsageError("--from is a check, and --skip-verify leaves them out", hint="leave one of the two out")
    if request.imatrix and not request.origin:
        raise UsageError("--imatrix has no meaning without --from", hint="name the files' source with --from")


def _plan_preset(request: PushRequest, facts: Facts) -> Plan:
    """Raises UsageError (a preset cannot name these files), EnvironmentProblem."""
    repo = request.preset_repo or ""
    require_fit(facts, repo)
    listing = _find_repo(repo)
    content = merged(existing_preset(listing), section(facts)).encode()
    return Plan(
        repo=repo,
        private=listing.private if listing else request.private,
        head=listing.commit if listing else None,
        uploads=[_upload(listing, PRESET, content, len(content), git_sha1(content))],
        card="",
        shelf=None,
        note="",
    )


def _reports(request: PushRequest, files: Sequence[AssistantFile]) -> dict[str, Report]:
    unchecked = [file for file in files if file.path.name not in request.reports]
    reports = {**request.reports, **check_files(unchecked, request.target)}
    require_sound(reports)
    return {file.path.name: reports[file.path.name] for file in files}


def public_repo(repo: str) -> EnvironmentProblem:
    """The complaint about a repo that everybody would see, where a private one was asked for."""
    return EnvironmentProblem(
        "the repo is public, and --private was asked for; nothing was uploaded",
        where=repo,
        hint="make it private on the Hub, name another repo, or leave --private out",
    )


def _find_repo(repo: str) -> Listing | None:
    """What the repo holds, or None if it does not exist (or is hidden, which the Hub tells only when it is created)."""
    try:
        return list_repo(Source(repo=repo))
    except EnvironmentProblem as problem:
        if type(problem.__cause__) is RepositoryNotFoundError:
            return None
        raise


def _other_assistants(listing: Listing | None, files: Sequence[AssistantFile]) -> dict[str, str]:
    """The drafters of this kind in the repo that this push leaves alone: name -> sha256.

    Raises UsageError if they are for another target.
    """
    mine, prefix = {file.path.name for file in files}, files[0].family.prefix
    others = {
        name: file.etag
        for name, file in (listing.files if listing else {}).items()
        if name.startswith(prefix) and name.endswith(".gguf") and name not in mine
    }
    target = files[0].name.model
    for name in others:
        if _target_named(name) not in (None, target):
            raise UsageError(
                f"the repo has {name}, a drafter for another target than {target}",
                where=listing.repo if listing else None,
                hint="give each target a repo of its own: llama.cpp chooses among a repo's drafters by type alone",
            )
    return others


def _target_named(name: str) -> str | None:
    try:
        return parse_published(name).model
    except UsageError:
        return None


def _types(files: Sequence[AssistantFile]) -> list[str]:
    return [str(file.name.type) for file in files]


def _types_of_names(names: Mapping[str, Any]) -> list[str]:
    return [name.removesuffix(".gguf").rsplit("-", 1)[-1] for name in names]


def _existing_card(listing: Listing | None) -> str | None:
    if listing is None or CARD not in listing.files:
        return None
    path = fetch_file(Source(repo=listing.repo, revision=listing.commit, file=CARD))
    return read_card(path.read_bytes(), listing.repo)


def _upload(listing: Listing | None, name: str, content: Path | bytes, size: int, etag: str) -> Upload:
    there = listing.files.get(name) if listing else None
    upload = Upload(name, content, size, etag, "new" if there is None else "changed")
    return replace(upload, state="unchanged") if there and has_hash(upload, there.etag) else upload


def has_hash(upload: Upload, etag: str) -> bool:
    """Whether this is the content's hash. A file that is usually large (LFS) may be stored as a small one."""
    if isinstance(upload.content, Path) and len(etag) == 40:
        return content_hash(upload.content, etag) == etag
    return etag == upload.etag
