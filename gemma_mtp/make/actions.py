"""What each action of the pipeline does with the steps that are to be taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gemma_mtp.convert import Output, convert_checkpoint, convert_dialect, dialect_named
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.safetensors_file import SafetensorsCheckpoint
from gemma_mtp.make.schedule import Schedule
from gemma_mtp.make.steps import IMATRIX, SOURCE, Step
from gemma_mtp.model.part import Part
from gemma_mtp.progress import Progress
from gemma_mtp.publish.assistant_file import read_assistant
from gemma_mtp.publish.checks import check_files
from gemma_mtp.quantize import quantize_file, read_imatrix
from gemma_mtp.sources.opening import open_model
from gemma_mtp.sources.origin import Origin
from gemma_mtp.validate import Report


@dataclass
class Workshop:
    """Where a schedule is carried out. deep: whether the Hub's cache is hashed again. reports: of verified files.

    made: file -> hash, of what the steps so far have made. notes: what the checkpoint says and was not heeded (see
    `Conversion`).
    """

    plan: Schedule
    threads: int | None
    progress: Progress
    deep: bool = False
    reports: dict[str, Report] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def source(self) -> Path:
        """The checkpoint's folder or the GGUF; downloaded when the first step asks for it."""
        return self.plan.material.fetch(self.progress, self.deep)

    def path(self, file: str) -> Path:
        return self.source if file == SOURCE else self.plan.job.folder / file

    def outputs(self, steps: Sequence[Step]) -> list[Output]:
        return [Output(self.path(step.file), step.settings["type"]) for step in steps]


def convert(shop: Workshop, steps: Sequence[Step]) -> None:
    """All types from one reading of the checkpoint."""
    settings, material, target = steps[0].settings, shop.plan.material, shop.plan.job.target
    size = sum(tensor.nbytes for tensor in SafetensorsCheckpoint(shop.source).values())
    with ExitStack() as stack:
        owner = stack.enter_context(open_model(target, Part.TARGET)) if target and material.borrows else None
        advance = stack.enter_context(shop.progress("converting", size * len(steps)))
        done = convert_checkpoint(
            shop.source,
            shop.outputs(steps),
            name=settings["name"],
            dialect=dialect_named(settings["dialect"]),
            target=owner,
            origin=Origin(material.place.repo, material.commit, material.files),
            force=True,
            threads=shop.threads,
            advance=advance,
        )
    shop.notes += done.notes


def quantize(shop: Workshop, steps: Sequence[Step]) -> None:
    """All types from one reading of the 16-bit file."""
    source = shop.path(steps[0].inputs[0])
    matrix = shop.plan.job.imatrix if IMATRIX in steps[0].inputs else None
    with shop.progress("quantizing", source.stat().st_size * len(steps)) as advance:
        quantize_file(
            source,
            shop.outputs(steps),
            importance=read_imatrix(matrix) if matrix else None,
            force=True,
            threads=shop.threads,
            advance=advance,
        )


def respell(shop: Workshop, steps: Sequence[Step]) -> None:
    for step in steps:
        dialect = dialect_named(step.settings["dialect"])
        convert_dialect(shop.path(step.inputs[0]), shop.path(step.file), dialect, force=True)


def verify(shop: Workshop, steps: Sequence[Step]) -> None:
    """Raises BadFileError for the first file with an error."""
    files = [read_assistant(shop.path(step.file), sha256=shop.made.get(step.file)) for step in steps]
    shop.reports |= check_files(files, shop.plan.job.target)
    for step in steps:
        errors = shop.reports[step.file].errors
        if errors:
            worst = errors[0].finding
            raise BadFileError(f"verification failed: {worst.message}", where=step.file, hint=worst.remedy)


ACTIONS: Mapping[str, Callable[[Workshop, Sequence[Step]], None]] = {
    "convert": convert,
    "quantize": quantize,
    "respell": respell,
    "verify": verify,
}
