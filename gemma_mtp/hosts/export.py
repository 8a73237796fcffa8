"""What a host is to be told about a pair that was verified for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemma_mtp.advice import ours
from gemma_mtp.bench.results import NONE, PLAIN, BenchResults, read_results
from gemma_mtp.errors import UsageError, meant
from gemma_mtp.files.atomic import write_whole
from gemma_mtp.hosts import folder
from gemma_mtp.hosts.record import CommandLine, Folder, Form, HostRecord, Preset, YamlFile
from gemma_mtp.hosts.table import HOSTS
from gemma_mtp.hosts.values import Values, filled
from gemma_mtp.hosts.writers import WRITERS, words
from gemma_mtp.hub.source import parse_source
from gemma_mtp.model.family import FAMILY, Family
from gemma_mtp.model.part import Part
from gemma_mtp.native.methods import MTP
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Want, open_model
from gemma_mtp.validate import Report, verify_pair
from gemma_mtp.validate.host import Host, context_for, parse_settings, parse_version

#: Tokens in a round where nothing was measured, by the target's size; llama.cpp's own default for all others.
USUAL_DRAFTS, USUAL_DRAFT = {"26B-A4B": 2}, 3
#: Stands for the folder that a host looks through, where none is named.
MODELS = "MODELS"


@dataclass(frozen=True)
class Wishes:
    """What the user asked for. draft: tokens in a round. bench: a file of `gemma-mtp bench`. ctx: tokens of context.

    output: a file or a folder. For a host that looks through a folder: that one.
    """

    draft: int | None = None
    bench: Path | None = None
    ctx: int | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Export:
    """What is to be written, and nothing written yet.

    text: the content for the host; file: where it goes, None: nowhere yet. links: link -> file; nowhere: below a
    folder that nobody has named. then: commands to run.
    draft_from: where the draft length comes from, in words. report: what verifying found.
    """

    host: HostRecord
    values: Values
    draft_from: str
    text: str = ""
    file: Path | None = None
    links: Mapping[Path, Path] = field(default_factory=dict)
    then: tuple[str, ...] = ()
    nowhere: bool = False
    report: Report = field(default_factory=lambda: Report(()))

    @property
    def writes(self) -> bool:
        """Whether there is anything to write beside standard output."""
        return self.file is not None or (bool(self.links) and not self.nowhere)

    def write(self, *, force: bool = False) -> None:
        """All of it or nothing. Raises UsageError (the file exists, no such folder), EnvironmentProblem (disk)."""
        if not self.nowhere:
            folder.make_links(dict(self.links), force)
        if self.file is not None:
            write_whole(self.file, self.text.encode(), force=force)

    def to_dict(self) -> dict[str, Any]:
        return {
            "host": self.host.to_dict(),
            "target": self.values.target,
            "assistant": self.values.assistant,
            "name": self.values.name,
            "draft": self.values.draft,
            "draft_from": self.draft_from,
            "context": self.values.ctx,
            "text": self.text,
            "file": None if self.file is None else str(self.file),
            "links": {str(link): str(file) for link, file in self.links.items()},
            "then": list(self.then),
            "verdict": self.report.verdict,
            "warnings": [result.to_dict() for result in self.report.warnings],
        }


def find_host(name: str) -> tuple[HostRecord, Host]:
    """`NAME` or `NAME@VERSION`: the record, and the host that a pair is verified for. Raises UsageError."""
    plain, _, version = name.partition("@")
    found = next((host for host in HOSTS if host.name == plain.lower()), None)
    if found is None:
        names = [host.name for host in HOSTS]
        hint = (
            meant(plain, names)
            or f"there are {', '.join(names)}; {ours('export', options={'--list': None})} tells more"
        )
        raise UsageError(f"the host {plain!r} is unknown", hint=hint)
    if found.runtime is None:
        if version:
            raise UsageError("nothing is known here about versions of this host", where=name, hint="leave @... out")
        return found, Host()
    return found, Host(found.runtime, parse_version(version) if version else None, True)


def export_pair(name: str, target: str, assistant: str, wishes: Wishes, *, progress: Progress = silent) -> Export:
    """Verify a pair for a host and prepare what it is to be told. If the report has errors there is nothing to write.

    name: see `find_host`. target, assistant: places; for hosts with GGUF files they are downloaded from the Hub.
    Raises UsageError (host, draft length, paths that the host cannot write), BadFileError, EnvironmentProblem.
    """
    record, host = find_host(name)
    places = [
        _place(record, place, part, progress) for place, part in ((target, Part.TARGET), (assistant, Part.ASSISTANT))
    ]
    draft, draft_from = _draft(wishes, places[0], places[1])
    family = places[1].family
    if family.name not in record.drafters:
        raise UsageError(
            f"that {record.title} drafts with {family.prefix}* files is not known",
            where=assistant,
            hint=f"a {FAMILY.prefix}* file for this host, or another host for this file",
        )
    values = Values(places[0].name, places[1].name, draft, wishes.ctx, family)
    host = Host(host.runtime, host.version, host.said, _settings(record, values))
    report = verify_pair(target, assistant, host=host, context=context_for(host, wishes.ctx), progress=progress)
    if not report.ok:
        return Export(record, values, draft_from, report=report)
    if isinstance(record.form, Folder):
        root = (wishes.output or Path(MODELS)).absolute()
        found = folder.links(record.form, values, [*places[0].files, *places[1].files], root)
        return Export(record, values, draft_from, links=found, nowhere=wishes.output is None, report=report)
    text = WRITERS[type(record.form)](record.form, values)
    file = _file(record.form, wishes.output)
    then = tuple(_then(record, values, file))
    return Export(record, values, draft_from, text, file, {}, then, report=report)


def shown(host: HostRecord) -> str:
    """What a host is told about a pair that stands nowhere: for people to read."""
    files = ("/models/gemma-4-31B-it-Q4_K_M.gguf", "/models/mtp-gemma-4-31B-it-Q8_0.gguf")
    repos = ("google/gemma-4-31B-it", "google/gemma-4-31B-it-assistant")
    values = Values(*(files if host.runtime else repos), draft=USUAL_DRAFT, ctx=8192)
    if isinstance(host.form, Folder):
        found = folder.links(host.form, values, [Path(file) for file in files], Path(MODELS))
        return "".join(f"{link} -> {file}\n" for link, file in found.items())
    return told(host, values)


def told(host: HostRecord, values: Values) -> str:
    """The text for a host that is no folder, and the commands after it. Raises UsageError (see `export_pair`)."""
    text = WRITERS[type(host.form)](host.form, values)
    return text + "".join(f"\n{command}" for command in _then(host, values, None))


@dataclass(frozen=True)
class _Place:
    """A model as the host is told it. name: an absolute path, or a repo. files: those on this machine."""

    name: str
    files: tuple[Path, ...]
    size: str
    family: Family = FAMILY


def _place(record: HostRecord, place: str, part: Part, progress: Progress) -> _Place:
    """Raises UsageError: a GGUF for a host of checkpoints, a checkpoint for a host of GGUFs."""
    if record.runtime is not None:
        with open_model(place, part, want=Want.FILE, progress=progress) as model:
            files = tuple(file.absolute() for file in model.files)
            return _Place(str(files[0]), files, _size(model), model.family)
    source = parse_source(place)
    with open_model(place, part) as model:
        is_checkpoint = source.path.is_dir() if source.path else source.file is None and source.quant is None
        if not is_checkpoint:
            raise UsageError(f"{record.title} reads checkpoints and no GGUF", where=place, hint="name the checkpoint")
        return _Place(str(source.path.absolute()) if source.path else str(source.repo), (), _size(model), model.family)


def _size(model: OpenModel) -> str:
    return "" if isinstance(model.model, str) else FAMILY.sizes.get(model.hyper.hidden, "")


def _draft(wishes: Wishes, target: _Place, assistant: _Place) -> tuple[int, str]:
    """The draft length and where it comes from. Raises UsageError, BadFileError."""
    if wishes.draft is not None:
        return wishes.draft, "as asked for"
    if wishes.bench is None:
        usual = USUAL_DRAFTS.get(target.size, USUAL_DRAFT)
        finds = f"; {ours('bench', target.name, assistant.name)} finds this pair's" if target.files else ""
        return usual, f"the usual length{finds}"
    results = read_results(wishes.bench)
    _require_measured(results, wishes.bench, target, assistant)
    best = results.recommendation
    if best.draft == PLAIN:
        raise UsageError(
            "these results say that drafting does not pay here: there is nothing to export",
            where=wishes.bench,
            hint="use the target alone, or say --draft-max",
        )
    return best.draft, f"measured: {best.speedup:.2f}x in {wishes.bench}"


def _require_measured(results: BenchResults, where: Path, target: _Place, assistant: _Place) -> None:
    """Raises UsageError: results of other files, or of another way of drafting."""
    if results.assistant is None or results.recommendation.method not in (MTP, NONE):
        raise UsageError(
            f"these results recommend {results.recommendation.method}, and what is exported is an assistant",
            where=where,
            hint="measure the assistant alone, or name a length: --draft-max",
        )
    for measured, place in ((results.target, target), (results.assistant, assistant)):
        size = sum(file.stat().st_size for file in place.files)
        if place.files and (measured.file, measured.bytes) != (place.files[0].name, size):
            raise UsageError(
                f"these results are of {measured.file} ({measured.bytes:,} bytes), not of {place.files[0].name} "
                f"({size:,} bytes)",
                where=where,
                hint=f"measure this pair: {ours('bench', target.name, assistant.name)}",
            )


def _settings(record: HostRecord, values: Values) -> dict[str, str]:
    """The form as options of the runtime, for what is known about settings."""
    form = record.form
    if record.own_options or record.runtime is None:
        return {}
    said: list[str] = []
    if isinstance(form, Preset):
        said = [word for key, value in filled(form.keys, values).items() for word in (f"--{key}", str(value))]
    elif isinstance(form, CommandLine | YamlFile):
        said = words(form.commands[-1] if isinstance(form, CommandLine) else form.shell, values)
    return parse_settings(shlex.join(said))


def _file(form: Form, output: Path | None) -> Path | None:
    assert not isinstance(form, Folder)
    return output / form.file if output is not None and output.is_dir() else output


def _then(record: HostRecord, values: Values, file: Path | None) -> list[str]:
    name = str(file.absolute()) if file else getattr(record.form, "file", "")
    return [
        shlex.join(name if word == "{file}" else str(filled(word, values)) for word in command)
        for command in record.then
    ]
