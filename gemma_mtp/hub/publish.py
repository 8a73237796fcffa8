"""Publishing assistants: a plan that can be shown, then its execution. Doing it twice changes nothing.

    files -> checks -> hashes -> what the repo holds -> plan (files, card, collection) -> one commit -> hashes compared

A push that was interrupted is simply run again: content that the Hub has already is not sent a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from gemma_mtp.errors import BadFileError, EnvironmentProblem, UsageError
from gemma_mtp.hub.assistant_file import AssistantFile, check_assistant, check_pair, read_assistant
from gemma_mtp.hub.cache import content_hash, git_hasher
from gemma_mtp.hub.card import Facts, read_bench, write_card
from gemma_mtp.hub.client import hub, retried
from gemma_mtp.hub.collection import Shelf, find_collection, put_into_collection
from gemma_mtp.hub.discovery import DRAFTER_PREFIX, parse_drafter_name
from gemma_mtp.hub.download import Listing, fetch_file, list_repo
from gemma_mtp.hub.problems import NOT_LOGGED_IN, explained
from gemma_mtp.hub.source import Source, check_repo_name, parse_source
from gemma_mtp.validate import Report
from gemma_mtp.validate.keys import TARGET
from gemma_mtp.validate.places import open_side

CARD = "README.md"


@dataclass(frozen=True)
class PushRequest:
    """What the user asked for.

    collection: a title or a slug. target: a GGUF to check the files against (see `gemma_mtp.validate.places`).
    bench: the file of `gemma-mtp bench --json`. base_model: the original checkpoint, where the files don't name it.
    """

    files: Sequence[Path]
    repo: str
    collection: str | None = None
    private: bool = False
    target: str | None = None
    bench: Path | None = None
    base_model: str | None = None
    skip_verify: bool = False

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
    """What a push will do. head: the commit that it starts from; None if the repo has to be created."""

    repo: str
    private: bool
    head: str | None
    uploads: Sequence[Upload]
    card: str
    shelf: Shelf | None
    note: str
    collection_exists: bool = False
    reports: Mapping[str, Report] = field(default_factory=dict)

    @property
    def pending(self) -> list[Upload]:
        return [upload for upload in self.uploads if upload.state != "unchanged"]


@dataclass(frozen=True)
class Outcome:
    """Where it went. commit: the new one; None if the repo had everything already."""

    url: str
    commit: str | None
    collection_url: str | None


def plan_push(request: PushRequest) -> Plan:
    """Check the files, look at the repo, write the card; nothing is changed anywhere.

    Raises UsageError (names, arguments), GGUFError and BadFileError (files), EnvironmentProblem (Hub, network).
    """
    check_repo_name(request.repo)
    shelf = Shelf(request.collection, request.owner) if request.collection else None
    target = parse_source(request.target) if request.target else None
    bench = read_bench(request.bench) if request.bench else None
    files = [read_assistant(path) for path in request.files]
    _require_one_target(files)
    reports = None if request.skip_verify else dict(_verified(request, files))
    listing = _find_repo(request.repo)
    others = _other_assistants(listing, files)
    facts = Facts(request.repo, files, others, target, request.base_model, reports, bench)
    card = write_card(facts, _existing_card(listing))
    content = card.encode()
    uploads = [_upload(listing, file.path.name, file.path, file.size, file.sha256) for file in files]
    uploads.append(_upload(listing, CARD, content, len(content), _git_sha1(content)))
    return Plan(
        repo=request.repo,
        private=request.private,
        head=listing.commit if listing else None,
        uploads=uploads,
        card=card,
        shelf=shelf,
        note=f"MTP drafter for {facts.target_name}: " + ", ".join(sorted({*_types(files), *_types_of_names(others)})),
        collection_exists=bool(shelf and find_collection(shelf)),
        reports=reports or {},
    )


def push(plan: Plan) -> Outcome:
    """Carry out a plan. Raises EnvironmentProblem; running the push again goes on where it ended."""
    _require_login()
    url = f"{hub().endpoint}/{plan.repo}"
    with explained(plan.repo):
        if plan.head is None:
            retried(lambda: hub().create_repo(plan.repo, private=plan.private, exist_ok=True))
        commit = _commit(plan) if plan.pending else None
        _compare_hashes(plan)
    shelved = put_into_collection(plan.shelf, plan.repo, plan.note, plan.private) if plan.shelf else None
    return Outcome(url, commit, f"{hub().endpoint}/collections/{shelved.slug}" if shelved else None)


def _commit(plan: Plan) -> str:
    def attempt() -> str:
        operations = [CommitOperationAdd(upload.name, _content(upload)) for upload in plan.pending]
        message = f"Upload {', '.join(upload.name for upload in plan.pending)} with gemma-mtp"
        return str(hub().create_commit(plan.repo, operations, commit_message=message, parent_commit=plan.head).oid)

    return retried(attempt)


def _content(upload: Upload) -> str | bytes:
    return upload.content if isinstance(upload.content, bytes) else str(upload.content)


def _compare_hashes(plan: Plan) -> None:
    """Whether the Hub now has the content that was sent, by hash."""
    names = [upload.name for upload in plan.uploads]
    entries = retried(lambda: hub().get_paths_info(plan.repo, names))
    there = {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in entries if isinstance(entry, RepoFile)
    }
    wrong = [upload.name for upload in plan.uploads if not _has_hash(upload, there.get(upload.name, ""))]
    if wrong:
        raise EnvironmentProblem(
            f"the Hub has other content than was sent for {', '.join(wrong)}", where=plan.repo, hint="run it again"
        )


def _require_login() -> None:
    """Find out before a long upload that it cannot succeed. Raises EnvironmentProblem."""
    with explained():
        user = retried(lambda: hub().whoami())
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise EnvironmentProblem(f"the token of {user.get('name')} can only read", hint=NOT_LOGGED_IN.hint)


def _require_one_target(files: Sequence[AssistantFile]) -> None:
    if not files:
        raise UsageError("name at least one file")
    targets = {file.name.target for file in files}
    if len(targets) > 1:
        raise UsageError(
            f"these are drafters for {len(targets)} targets: {', '.join(sorted(targets))}",
            hint="give each target a repo of its own: llama.cpp chooses among a repo's drafters by type alone",
        )
    names = [file.path.name for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError("two files have this name", where=twice)


def _verified(request: PushRequest, files: Sequence[AssistantFile]) -> Iterator[tuple[str, Report]]:
    """The report on each file. Raises BadFileError for the first that is broken."""
    for file in files:
        yield file.path.name, _require_sound(file.path, check_assistant(file.path))
    if request.target is not None:
        with open_side(request.target, TARGET) as target:
            for file in files:
                yield file.path.name, _require_sound(file.path, check_pair(target, file.path))


def _require_sound(path: Path, report: Report) -> Report:
    if report.errors:
        worst = report.errors[0]
        more = f" (and {len(report.errors) - 1} more)" if len(report.errors) > 1 else ""
        raise BadFileError(
            f"not published, because it is broken: {worst.finding.message}{more}",
            where=path,
            hint=f"{worst.finding.remedy}; --skip-verify publishes it all the same and says so in the card",
        )
    return report


def _find_repo(repo: str) -> Listing | None:
    """What the repo holds, or None if it does not exist (or is hidden, which the Hub tells only when it is created)."""
    try:
        return list_repo(Source(repo=repo))
    except EnvironmentProblem as problem:
        if type(problem.__cause__) is RepositoryNotFoundError:
            return None
        raise


def _other_assistants(listing: Listing | None, files: Sequence[AssistantFile]) -> dict[str, str]:
    """The assistants in the repo that this push leaves alone: name -> sha256.

    Raises UsageError if they are for another target.
    """
    mine = {file.path.name for file in files}
    others = {
        name: file.etag
        for name, file in (listing.files if listing else {}).items()
        if name.startswith(DRAFTER_PREFIX) and name.endswith(".gguf") and name not in mine
    }
    target = files[0].name.target
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
        return parse_drafter_name(name).target
    except UsageError:
        return None


def _types(files: Sequence[AssistantFile]) -> list[str]:
    return [file.name.type for file in files]


def _types_of_names(names: Mapping[str, Any]) -> list[str]:
    return [name.removesuffix(".gguf").rsplit("-", 1)[-1] for name in names]


def _existing_card(listing: Listing | None) -> str | None:
    if listing is None or CARD not in listing.files:
        return None
    path = fetch_file(Source(repo=listing.repo, revision=listing.commit, file=CARD))
    return path.read_text(encoding="utf-8", errors="replace")


def _upload(listing: Listing | None, name: str, content: Path | bytes, size: int, etag: str) -> Upload:
    there = listing.files.get(name) if listing else None
    upload = Upload(name, content, size, etag, "new" if there is None else "changed")
    return replace(upload, state="unchanged") if there and _has_hash(upload, there.etag) else upload


def _has_hash(upload: Upload, etag: str) -> bool:
    """Whether this is the content's hash. A file that is usually large (LFS) may be stored as a small one."""
    if isinstance(upload.content, Path) and len(etag) == 40:
        return content_hash(upload.content, etag) == etag
    return etag == upload.etag


def _git_sha1(content: bytes) -> str:
    hasher = git_hasher(len(content))
    hasher.update(content)
    return hasher.hexdigest()
