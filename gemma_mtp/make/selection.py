"""From what a user names to jobs: one source, or all assistants of an owner, a pattern or a collection.

DFlash drafters of the same targets are among them where a job can make one: they are written in mainline's dialect
alone, and their tokenizer is the target's, which must be named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from huggingface_hub.hf_api import ModelInfo

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.hub.client import hub, retried
from gemma_mtp.hub.problems import explained
from gemma_mtp.hub.source import SCHEME, parse_source
from gemma_mtp.make.job import Job
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.family import FAMILIES, FAMILY, Family
from gemma_mtp.model.part import Part
from gemma_mtp.publish.collection import Shelf

#: What the names of repos have in common whose class other targets' drafters have, too.
OF_THESE_TARGETS = ("*gemma-4*", "*gemma4*")


@dataclass(frozen=True)
class Entry:
    """One line of work as a user gives it: `source`, or `all` for many sources; `options` are fields of `Job`."""

    source: str | None
    all: str | None
    options: Mapping[str, Any]


def jobs_of(entries: Iterable[Entry]) -> list[Job]:
    """The jobs that entries come to; each asks the Hub only if it names no single source.

    Raises UsageError (options, two assistants for one repo), EnvironmentProblem (Hub, network, none found).
    """
    jobs = []
    for entry in entries:
        if entry.all is not None and "name" in entry.options:
            raise UsageError("one name cannot be that of several assistants", where=entry.all, hint="leave it out")
        sources = [entry.source] if entry.source is not None else _found(entry.all or "", entry.options)
        jobs += [Job(source, **entry.options) for source in sources]
    _require_own_repos(jobs)
    return jobs


def _found(selection: str, options: Mapping[str, Any]) -> list[str]:
    """What a job of these options can make of a selection."""
    makes_blocks = "target" in options and set(options.get("dialects", ())) <= {MAINLINE.name}
    return find_assistants(selection, tuple(FAMILIES.values()) if makes_blocks else (FAMILY,))


def _require_own_repos(jobs: Sequence[Job]) -> None:
    """One repo is for one assistant, as llama.cpp chooses among a repo's drafters by type alone."""
    taken: dict[str, str] = {}
    for job in jobs:
        repo = job.push
        if repo is None or "/" not in repo or "{" in repo:
            continue
        if taken.setdefault(repo, job.source) != job.source:
            raise UsageError(
                f"{taken[repo]} and {job.source} would be pushed to the same repo",
                where=repo,
                hint="write {name} or {target} into its name, or name an owner alone",
            )


def find_assistants(selection: str, families: Sequence[Family] = (FAMILY,)) -> list[str]:
    """The repos of `owner`, `owner/pattern*` or a collection's slug that hold drafters' checkpoints, sorted.

    families: whose drafters.

    Raises UsageError (not of this form), EnvironmentProblem (Hub, network, or none found).
    """
    owner, _, pattern = selection.partition("/")
    if not owner or any(sign in owner for sign in "*?["):
        raise UsageError("name an owner, owner/pattern or a collection's slug", where=selection)
    shelf = Shelf(selection, owner)
    if shelf.is_slug:
        repos = _collected(selection, families)
    else:
        owned = [model for family in families for model in _owned(owner, family) if _is_repo(model.id)]
        wanted = {model.id for model in owned if any(is_drafter(model, family) for family in families)}
        repos = sorted(repo for repo in wanted if _fits(repo, pattern))
    if not repos:
        raise EnvironmentProblem(
            f"no {FAMILY.title} assistant's checkpoint is there",
            where=selection,
            hint="name a repo, or check the pattern",
        )
    return repos


def is_drafter(model: ModelInfo, family: Family) -> bool:
    """By the architecture in its config where the Hub knows it, else by its name."""
    architectures = model.config.get("architectures", ()) if isinstance(model.config, dict) else ()
    if isinstance(architectures, list):
        classes = {family.classes.get(name) for name in architectures if isinstance(name, str)}
        return Part.ASSISTANT in classes and (family is FAMILY or _named(model.id, OF_THESE_TARGETS))
    return _named(model.id, (family.drafter_names,))


def _named(repo: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(repo.split("/")[1].lower(), pattern) for pattern in patterns)


def _owned(owner: str, family: Family) -> list[ModelInfo]:
    search = family.ending.removeprefix("-")
    with explained(owner):
        return retried(lambda: list(hub().list_models(author=owner, search=search, expand=["config"])))


def _collected(slug: str, families: Sequence[Family]) -> list[str]:
    with explained(slug):
        collection = retried(lambda: hub().get_collection(slug))
    models = (item.item_id for item in collection.items if item.item_type == "model" and _is_repo(item.item_id))
    return sorted(repo for repo in models if _named(repo, (family.drafter_names for family in families)))


def _is_repo(name: object) -> bool:
    """Whether a server names a repo, and nothing that would be read as a path here."""
    try:
        return isinstance(name, str) and parse_source(f"{SCHEME}{name}").repo == name
    except UsageError:
        return False


def _fits(repo: str, pattern: str) -> bool:
    return not pattern or _named(repo, (pattern.lower(),))
