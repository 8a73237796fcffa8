"""A push as one call: the plan is made, may be looked at, and is carried out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from gemma_mtp.progress import Progress, silent
from gemma_mtp.publish.assistant_file import file_to_publish
from gemma_mtp.publish.plan import Plan, PushRequest, plan_push
from gemma_mtp.publish.upload import Outcome, push
from gemma_mtp.sources.opening import Place

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Push:
    """What was to be done, and what was; `outcome` is None after a dry run."""

    plan: Plan
    outcome: Outcome | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**self.plan.to_dict(), **(self.outcome.to_dict() if self.outcome else {})}


def push_files(
    files: Sequence[Place],
    repo: str,
    *,
    collection: str | None = None,
    private: bool = False,
    target: Place | None = None,
    bench: str | PathLike[str] | None = None,
    base_model: str | None = None,
    skip_verify: bool = False,
    preset_repo: str | None = None,
    origin: Place | None = None,
    imatrix: str | PathLike[str] | None = None,
    dry_run: bool = False,
    on_plan: Callable[[Plan], None] | None = None,
    progress: Progress = silent,
) -> Push:
    """Publish assistants (`mtp-<target>-<TYPE>.gguf`) in a repo on the Hub, with a model card.

        push_files(["mtp-gemma-4-31B-it-Q8_0.gguf"], "alice/gemma-4-31B-it-assistant-GGUF", dry_run=True).plan.card

    repo: owner/name; made if needed. collection: a title or slug, to put the repo into; made if needed.
    private: make a new repo or collection private. target: check the files against it.
    bench: the results of `gemma-mtp bench --json`, for the card. base_model: the checkpoint's repo, where the files
    don't name it. skip_verify: publish without checks; the card says so. preset_repo: a repo of its own for a
    preset.ini, with which `llama-server -hf` drafts without flags. origin: the checkpoint or 16-bit GGUF that the files
    were made of: each tensor is made anew from it and compared, and the card says so. imatrix: the importance matrix of
    those that were made with one. dry_run: change nothing anywhere.
    on_plan: called before anything is sent. progress: of hashing.

    Doing it twice changes nothing. Raises UsageError (names, arguments), GGUFError and BadFileError (files that are
    broken, no assistants, or not made of `origin`), EnvironmentProblem (Hub, network, login; running it again goes on
    where it ended).
    """
    request = PushRequest(
        [file_to_publish(file) for file in files],
        repo,
        collection,
        private,
        None if target is None else str(target),
        None if bench is None else Path(bench),
        base_model,
        skip_verify,
        preset_repo=preset_repo,
        origin=None if origin is None else str(origin),
        imatrix=None if imatrix is None else str(imatrix),
    )
    plan = plan_push(request, progress=progress)
    if dry_run:
        return Push(plan)
    if on_plan is not None:
        on_plan(plan)
    outcome = push(plan)
    LOG.info("%s: %s", outcome.url, "nothing was new" if outcome.commit is None else f"commit {outcome.commit}")
    return Push(plan, outcome)
