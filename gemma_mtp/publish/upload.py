"""Carrying out a plan: the repo, one commit, the hashes compared, the collection. Doing it twice changes nothing.

A push that was interrupted is simply run again: content that the Hub has already is not sent a second time.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd
from huggingface_hub.hf_api import RepoFile

from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.hub.client import hub, retried
from gemma_mtp.hub.problems import NOT_LOGGED_IN, explained
from gemma_mtp.publish.collection import put_into_collection
from gemma_mtp.publish.plan import Plan, Upload, has_hash, public_repo
from gemma_mtp.publish.storage import sent_somehow
from gemma_mtp.redaction import redact


@dataclass(frozen=True)
class Outcome:
    """Where it went. commit: the new one; None if the repo had everything already."""

    url: str
    commit: str | None
    collection_url: str | None
    preset_url: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def push(plan: Plan) -> Outcome:
    """Carry out a plan. Raises EnvironmentProblem; running the push again goes on where it ended."""
    require_login()
    endpoint = redact(str(hub().endpoint))
    with explained(plan.repo):
        if plan.head is None:
            _create_repo(plan)
        commit = _commit(plan) if plan.pending else None
        _compare_hashes(plan)
    shelved = put_into_collection(plan.shelf, plan.repo, plan.note, plan.private) if plan.shelf else None
    shelf = f"{endpoint}/collections/{shelved.slug}" if shelved else None
    preset = push(plan.preset).url if plan.preset else None
    return Outcome(f"{endpoint}/{plan.repo}", commit, shelf, preset)


def _create_repo(plan: Plan) -> None:
    """Make the repo; it may be there already, made in the meantime, or hidden from this account until now."""
    retried(lambda: hub().create_repo(plan.repo, private=plan.private, exist_ok=True))
    if plan.private and not retried(lambda: hub().model_info(plan.repo)).private:
        raise public_repo(plan.repo)


def _commit(plan: Plan) -> str:
    def attempt(plain: bool) -> str:
        with ExitStack() as opened:
            operations = [CommitOperationAdd(upload.name, _content(upload, plain, opened)) for upload in plan.pending]
            message = f"Upload {', '.join(upload.name for upload in plan.pending)} with gemma-mtp"
            return str(hub().create_commit(plan.repo, operations, commit_message=message, parent_commit=plan.head).oid)

    if any(isinstance(upload.content, Path) for upload in plan.pending):
        return sent_somehow(plan.repo, lambda plain: retried(lambda: attempt(plain)))
    return retried(lambda: attempt(True))


def _content(upload: Upload, plain: bool, opened: ExitStack) -> str | bytes | BufferedReader:
    """What huggingface_hub is given. It sends a path by Xet if it can, and a file that is open by plain HTTP."""
    if isinstance(upload.content, bytes):
        return upload.content
    return opened.enter_context(upload.content.open("rb")) if plain else str(upload.content)


def _compare_hashes(plan: Plan) -> None:
    """Whether the Hub now has the content that was sent, by hash."""
    names = [upload.name for upload in plan.uploads]
    entries = retried(lambda: hub().get_paths_info(plan.repo, names))
    there = {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in entries if isinstance(entry, RepoFile)
    }
    wrong = [upload.name for upload in plan.uploads if not has_hash(upload, there.get(upload.name, ""))]
    if wrong:
        raise EnvironmentProblem(
            f"the Hub has other content than was sent for {', '.join(wrong)}", where=plan.repo, hint="run it again"
        )


def require_login() -> str:
    """The user's name. Found out before a long upload that could not succeed. Raises EnvironmentProblem."""
    with explained():
        user = retried(lambda: hub().whoami())
        role = user.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise EnvironmentProblem(f"the token of {user['name']} can only read", hint=NOT_LOGGED_IN.hint)
        return str(user["name"])
