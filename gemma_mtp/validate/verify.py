"""Run the table of checks over a pair."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, TypeVar

from gemma_mtp.errors import UsageError
from gemma_mtp.hub.source import parse_source
from gemma_mtp.model.part import Part
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.drafting import known
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Place, Want, open_model
from gemma_mtp.validate.checks import Check, FileCheck, identity, of_family, of_file
from gemma_mtp.validate.checks.hosts import known_problems, not_understood
from gemma_mtp.validate.devices import spread
from gemma_mtp.validate.findings import Finding, Report, Result, Status, skipped
from gemma_mtp.validate.host import Host, model_for, places_on_gpu
from gemma_mtp.validate.memory import pair_memory
from gemma_mtp.validate.pair import Pair, Published, Single

if TYPE_CHECKING:
    from gemma_mtp.validate.run import RunOptions

LOG = logging.getLogger(__name__)
Checked = TypeVar("Checked", bound=Check)


def verify_pair(
    target: Place,
    assistant: Place,
    *,
    deep: bool = False,
    strict: bool = False,
    host: Host | None = None,
    context: ContextSettings | None = None,
    hub: Sequence[str] = (),
    run: RunOptions | None = None,
    reference: tuple[Place, Place] | None = None,
    reference_options: RunOptions | None = None,
    progress: Progress = silent,
) -> Report:
    """Whether two models will work together in llama.cpp, from their headers and a look at their data.

        verify_pair("target.gguf", "assistant.gguf", run=RunOptions(tokens=32)).verdict

    target, assistant: a GGUF file (or the first part of a split one), a checkpoint's folder, or a place on the Hub, of
    which only headers are read. deep: read every weight instead of a sample. strict: warnings count against the pair.
    host: the runtime and settings that it is meant for. context: what the estimate of memory is made for, and what is
    decoded in. hub: repos (or hf://owner/repo/file) that local files came from: files of the same name are compared by
    hash. run: decode with the pair too, in a child process, if the checks find no error. reference: the original
    checkpoints of target and assistant (folders or repos): compare drafts with transformers'. reference_options: how
    much is decoded for that, if it is something else than for `run`. progress: of hashing, downloads and decoding.

    Raises GGUFError, CheckpointError and SafetensorsError for files that cannot be read or break their format,
    UsageError and EnvironmentProblem for places that cannot be understood or reached; with `run` or `reference` also
    MissingExtra, and EnvironmentProblem if llama.cpp does not work on this machine.
    """
    context = context or ContextSettings()
    with ExitStack() as stack:
        owner = stack.enter_context(open_model(target, Part.TARGET))
        pair = Pair(
            target=owner,
            assistant=known(stack.enter_context(open_model(assistant, Part.ASSISTANT, owner=owner))),
            deep=deep,
            host=host or Host(),
            context=context,
            published=_published(hub),
            original=None if reference is None else str(reference[0]),
            progress=progress,
        )
        report = static_report(pair, strict)
    LOG.info("%s and %s: %s", target, assistant, report.verdict)
    if run is not None:
        from gemma_mtp.validate.run import with_run

        report = with_run(report, target, assistant, context=context, options=run, progress=progress)
    if reference is not None:
        from gemma_mtp.validate.reference import with_reference

        options = reference_options or run
        report = with_reference(
            report, target, assistant, reference, context=context, options=options, progress=progress
        )
    return report


def verify_file(
    place: Place,
    part: Part | str | None = None,
    *,
    deep: bool = False,
    strict: bool = False,
    host: Host | None = None,
    hub: Sequence[str] = (),
    origin: Place | None = None,
    imatrix: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> Report:
    """Whether one model is sound by itself: all checks that a target or an assistant can be put to alone.

        verify_file("mtp-gemma-4-31B-it-Q8_0.gguf").verdict

    place, deep, strict, host, hub, progress: as for `verify_pair`. part: what it is meant as; None: what it is.
    origin: the checkpoint or 16-bit GGUF that the file (a GGUF) is said to be made of: each tensor is made anew from it
    and compared by hash; what is on the Hub is downloaded for that. imatrix: the importance matrix that was used.

    Raises what `verify_pair` raises without `run` and `reference`; with `origin` also MissingExtra (ggml's kernels, for
    quantized types).
    """
    with open_model(place, part, want=Want.HEADER if origin is None else Want.DATA, progress=progress) as side:
        side = known(side)
        one = Single(side=side, deep=deep, host=host or Host(), published=_published(hub), progress=progress)
        checked = check_single(one, of_file(side.part, side.family))
        notes = (side.note,) if side.note else ()
        unused = not_understood(one.host) if not checked.errors else ()
        report = replace(checked, results=(*checked.results, *unused), strict=strict, notes=notes)
        if origin is not None:
            from gemma_mtp.validate.origin import said_source

            with said_source(origin, imatrix, progress) as source:
                report = source.put_to(report, side, progress=progress)
    LOG.info("%s: %s", place, report.verdict)
    return report


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
    if not {"target-keys", "assistant-keys"} <= passed or pair.assistant.read_as is not None:
        return Report(tuple(results), strict, notes)  # what such a drafter takes in memory was not measured
    memory = pair_memory(pair.target, pair.assistant, pair.context)
    model = model_for(pair.host)
    devices = spread(pair.target, pair.assistant, pair.context, model) if places_on_gpu(pair.host) else None
    return Report((*results, *known_problems(pair)), strict, notes, memory, devices)


def check_file(side: OpenModel, *without: str, host: Host | None = None) -> Report:
    """Whether a file is broken, for whatever it is used: the checks for that which one file can be put to.

    without: ids of checks to leave out. host: the runtime that it is meant for.
    """
    wanted = [check for check in of_file(side.part, side.family) if check.sound and check.id not in without]
    return check_single(Single(side=side, host=host or Host()), wanted)


def check_single(one: Single, checks: Sequence[FileCheck]) -> Report:
    """That one model is what it is meant as, and if so, the checks."""
    side = one.side
    is_it = Result("parts", "What it is", identity.alone(side))
    if is_it.status is Status.ERROR:
        return Report((is_it,), part=side.part)
    return Report((is_it, *_in_order(checks, lambda check: check.run(one))), part=side.part)


def run_checks(pair: Pair, checks: Sequence[Check] | None = None) -> list[Result]:
    """The checks of a pair, and of each of its two, in order; one whose needs are not met is skipped.

    checks: None for those of the drafter's family.
    """
    return _in_order(checks or of_family(pair.assistant.family), lambda check: check.of(pair))


def _in_order(checks: Sequence[Checked], find: Callable[[Checked], Finding]) -> list[Result]:
    results: dict[str, Result] = {}
    for check in checks:
        needs = [results[need] for need in check.needs if need in results]
        unmet = [need.id for need in needs if need.status in (Status.ERROR, Status.SKIPPED)]
        finding = skipped(f"depends on {unmet[0]}") if unmet else find(check)
        LOG.debug("%s: %s %s", check.id, finding.status.value, finding.message)
        results[check.id] = Result(check.id, check.title, finding)
    return list(results.values())
