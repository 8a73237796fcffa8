"""Run the table of checks over a pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_mtp.errors import UsageError
from gemma_mtp.hub.source import parse_source
from gemma_mtp.model.part import Part
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate.checks import CHECKS, Check, identity, of_file
from gemma_mtp.validate.checks.hosts import known_problems
from gemma_mtp.validate.devices import spread
from gemma_mtp.validate.findings import Report, Result, Status, skipped
from gemma_mtp.validate.host import Host, model_for, places_on_gpu
from gemma_mtp.validate.memory import pair_memory
from gemma_mtp.validate.pair import Pair, Published

if TYPE_CHECKING:
    from gemma_mtp.progress import Progress


def verify_pair(
    target: str | Path,
    assistant: str | Path,
    *,
    deep: bool = False,
    strict: bool = False,
    host: Host | None = None,
    context: ContextSettings | None = None,
    hub: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Whether two models will work together in llama.cpp, from their headers and a look at their data.

    target, assistant: a GGUF file (or the first part of a split one), a checkpoint's folder, or a GGUF on the Hub, of
    which only the header is read. deep: read every weight instead of a sample. strict: warnings count against the pair.
    host: the runtime and settings that it is meant for. context: what the estimate of memory is made for.
    hub: repos (or hf://owner/repo/file) that local files came from: files of the same name are compared by hash.

    Raises GGUFError, CheckpointError and SafetensorsError for files that cannot be read or break their format,
    UsageError and EnvironmentProblem for places that cannot be understood or reached.
    """
    with ExitStack() as stack:
        pair = Pair(
            target=stack.enter_context(open_model(target, Part.TARGET)),
            assistant=stack.enter_context(open_model(assistant, Part.ASSISTANT)),
            deep=deep,
            host=host or Host(),
            context=context or ContextSettings(),
            published=_published(hub),
            progress=progress,
        )
        return static_report(pair, strict)


def _published(places: Sequence[str]) -> tuple[Published, ...]:
    """The files that `--hub` names. Raises UsageError (no place on the Hub), EnvironmentProblem."""
    if not places:
        return ()
    from gemma_mtp.hub.download import list_repo, no_such_file

    found: list[Published] = []
    for place in places:
        source = parse_source(place)
        if source.repo is None:
            raise UsageError("this is a path, not a repo on the Hub", where=place, hint="write owner/repo")
        listing = list_repo(source)
        if source.file is not None and source.file not in listing.files:
            raise no_such_file(listing, source.file)
        files = [listing.files[source.file]] if source.file else listing.files.values()
        found += [Published(file.name, file.size, file.etag) for file in files]
    return tuple(found)


def static_report(pair: Pair, strict: bool) -> Report:
    """All that can be said without decoding."""
    results = run_checks(pair)
    notes = tuple(side.note for side in (pair.target, pair.assistant) if side.note)
    passed = {result.id for result in results if result.status is Status.OK}
    if not {"target-keys", "assistant-keys"} <= passed:
        return Report(tuple(results), strict, notes)
    memory = pair_memory(pair.target, pair.assistant, pair.context)
    model = model_for(pair.host)
    devices = spread(pair.target, pair.assistant, pair.context, model) if places_on_gpu(pair.host) else None
    return Report((*results, *known_problems(pair)), strict, notes, memory, devices)


def check_file(side: OpenModel, *without: str, host: Host | None = None) -> Report:
    """All checks that one file can be put to, whatever it is paired with.

    without: ids of checks to leave out. host: the runtime that it is meant for.
    """
    is_it = Result("parts", "What it is", identity.alone(side))
    if is_it.status is Status.ERROR:
        return Report((is_it,))
    pair = Pair(target=side, assistant=side, host=host or Host())
    return Report((is_it, *run_checks(pair, of_file(side.part, *without))))


def run_checks(pair: Pair, checks: Iterable[Check] = CHECKS) -> list[Result]:
    """The checks in order; one whose needs are not met is skipped."""
    results: dict[str, Result] = {}
    for check in checks:
        unmet = [need for need in check.needs if results[need].status in (Status.ERROR, Status.SKIPPED)]
        finding = skipped(f"depends on {unmet[0]}") if unmet else check.run(pair)
        results[check.id] = Result(check.id, check.title, finding)
    return list(results.values())
