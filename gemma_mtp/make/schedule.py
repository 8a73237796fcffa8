"""Which steps have to be taken, and why: an input or a setting changed, or an output is missing or another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gemma_mtp.bench.results import read_results
from gemma_mtp.errors import UsageError
from gemma_mtp.hub.download import look_up
from gemma_mtp.hub.source import check_repo_name, parse_source
from gemma_mtp.make.job import Job
from gemma_mtp.make.manifest import Manifest, Record, Stamp
from gemma_mtp.make.material import Material, look_at
from gemma_mtp.make.steps import IMATRIX, SOURCE, TARGET, Step, plan_steps, published
from gemma_mtp.model.family import Family
from gemma_mtp.model.file_name import FileName, parse_published
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress, silent
from gemma_mtp.publish.collection import Shelf

#: The hash of an input that is yet to be made.
UNKNOWN = ""


@dataclass(frozen=True)
class Schedule:
    """A job with all that was found out about it, and nothing changed yet.

    steps: all of them, done or not. hashes: of what comes from outside: the source's files, imatrix, target.
    """

    job: Job
    material: Material
    manifest: Manifest
    steps: tuple[Step, ...]
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """The files that were asked for."""
        return [self.job.folder / name for name in published(self.job, self.material)]

    @property
    def repo(self) -> str | None:
        return self.job.repo_for(self.material.name) if self.job.push else None

    def inputs(self, step: Step, made: Mapping[str, str]) -> dict[str, str]:
        """Name -> hash of all that the step reads. made: the files of the pipeline, UNKNOWN if yet to be made."""
        inputs: dict[str, str] = {}
        for name in step.inputs:
            inputs |= (
                self.material.files if name == SOURCE else {name: made.get(name) or self.hashes.get(name, UNKNOWN)}
            )
        return inputs

    def reason(self, step: Step, inputs: Mapping[str, str]) -> str:
        """Why the step has to be taken; empty if it is done."""
        record = self.manifest.records.get(step.id)
        if record is None:
            return "not done yet"
        if not record.done:
            return "it was interrupted"
        for what, now, before in (("", inputs, record.inputs), ("setting ", step.settings, record.settings)):
            changed = [name for name in {**now, **before} if now.get(name) != before.get(name)]
            if changed:
                return f"{what}{', '.join(changed)} changed"
        return self._output_trouble(step, record)

    def _output_trouble(self, step: Step, record: Record) -> str:
        if not step.makes_file:
            return ""
        path = self.job.folder / step.file
        if record.output is None or not path.is_file():
            return "the file is gone"
        return "" if Stamp.of(path, record.output).sha256 == record.output.sha256 else "the file was changed"

    def reasons(self) -> dict[str, str]:
        """Every step's id with the reason to take it, before any is taken; empty if it is done."""
        made: dict[str, str] = {}
        reasons = {}
        for step in self.steps:
            reasons[step.id] = self.reason(step, self.inputs(step, made))
            if not reasons[step.id]:
                made |= self.made_by(step)
        return reasons

    def made_by(self, step: Step) -> dict[str, str]:
        """The file that a step which is done has made, with its hash."""
        output = self.manifest.records[step.id].output
        return {step.file: output.sha256} if output else {}


def schedule(job: Job, *, force: bool = False, progress: Progress = silent) -> Schedule:
    """What a job comes to. force: whether files that `make` did not make may be replaced. progress: of hashing files.

    Raises UsageError (such a file, wrong names), BadFileError (no assistant, damaged notes), EnvironmentProblem.
    """

    def beside(name: str, family: Family) -> Manifest:
        return Manifest.beside(job.folder, FileName.of_checkpoint(Part.ASSISTANT, name, family).model, family)

    def known(name: str, family: Family) -> Mapping[str, Stamp]:
        return beside(name, family).sources

    material = look_at(job.source, known, job.name, progress)
    job = job.named(material.name)
    manifest = beside(material.name, material.family)
    steps = plan_steps(job, material)
    _check_names(job, material)
    if not force:
        _require_own_files(job.folder, steps, manifest)
    hashes = {}
    if job.imatrix:
        hashes[IMATRIX] = Stamp.of(_existing(job.imatrix), progress=progress).sha256
    if job.target:
        hashes[TARGET] = _identity(job.target)
    return Schedule(job, material, manifest, tuple(steps), hashes)


def _check_names(job: Job, material: Material) -> None:
    """Raises UsageError for what the Hub or llama.cpp could not take later; BadFileError for other bench results."""
    for name in published(job, material):
        parse_published(name)
    if job.push:
        repo = job.repo_for(material.name)
        check_repo_name(repo)
        if job.collection:
            Shelf(job.collection, repo.split("/")[0])
        if job.bench:
            read_results(Path(job.bench))


def _require_own_files(folder: Path, steps: list[Step], manifest: Manifest) -> None:
    for step in steps:
        if step.makes_file and step.id not in manifest.records and (folder / step.file).exists():
            raise UsageError(
                "the file exists already, and `make` did not make it",
                where=folder / step.file,
                hint="add --force to replace it, or choose another folder with --output",
            )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError("there is no such importance matrix", where=path)
    return path


def _identity(target: str) -> str:
    """What tells one state of a target from another, without reading its many bytes."""
    place = parse_source(target)
    if place.path is None:
        return f"{place} at {look_up(place).commit}"
    paths = sorted(place.path.iterdir()) if place.path.is_dir() else [place.path]
    found = [path.stat() for path in paths]
    return f"{place.path.resolve()}: " + ", ".join(f"{stat.st_size} {stat.st_mtime_ns}" for stat in found)
