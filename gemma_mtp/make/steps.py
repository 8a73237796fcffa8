"""The pipeline as data: which files are made from what, in which order, and what each depends on.

convert    checkpoint              -> a file of each type, all from one reading
quantize   16-bit file, imatrix    -> a file of each type, all from one reading
respell    file of one dialect     -> the same in another
verify     file, target            -> a verdict
push       files                   -> repo, collection
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gemma_mtp.errors import UsageError
from gemma_mtp.ggml import FLOAT_TYPES
from gemma_mtp.make.job import Job
from gemma_mtp.make.material import Material
from gemma_mtp.make.revision import code_revision
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.file_name import FileName
from gemma_mtp.model.part import Part
from gemma_mtp.quantize import FileType, find_kind
from gemma_mtp.sources.borrowed import without_target

#: The order in which actions are taken. `push` has no step: it asks the Hub itself what is done.
ACTIONS = ("convert", "quantize", "respell", "verify")
#: Inputs that are no file of the pipeline.
SOURCE, IMATRIX, TARGET = "source", "imatrix", "target"
#: What an importance matrix is applied to.
EXACT = "BF16"


@dataclass(frozen=True)
class Step:
    """One file made, or judged (verify).

    inputs: files that other steps make, or SOURCE, IMATRIX, TARGET. settings: what else its result depends on.
    """

    action: str
    file: str
    inputs: tuple[str, ...]
    settings: Mapping[str, str]

    @property
    def id(self) -> str:
        return f"{self.action} {self.file}"

    @property
    def makes_file(self) -> bool:
        return self.action != "verify"


def plan_steps(job: Job, material: Material) -> list[Step]:
    """All steps but the push, in an order in which they can be done.

    Raises UsageError: a dialect that is not the drafter's, a checkpoint that needs its target.
    """
    if material.borrows and job.dialects != (MAINLINE.name,):
        raise UsageError(
            f"of {material.family.prefix}* drafters make writes llama.cpp's form alone",
            where=str(material.place),
            hint="`gemma-mtp convert FILE --dialect NAME` writes a fork's",
        )
    if material.borrows and material.dialect is None and job.target is None:
        raise without_target(str(material.place))
    base = material.dialect or job.dialects[0]
    steps = list(_makers(job, material, base))
    made = {step.settings["type"]: step.file for step in steps}
    for dialect in job.dialects:
        if dialect != base:
            steps += [
                _step("respell", _name(material, kind, dialect), (made[kind],), type=kind, dialect=dialect)
                for kind in job.types
            ]
    inputs = (TARGET,) if job.target else ()
    return [*steps, *(_step("verify", file, (file, *inputs)) for file in published(job, material))]


def published(job: Job, material: Material) -> list[str]:
    """The files that were asked for."""
    return [_name(material, kind, dialect) for dialect in job.dialects for kind in job.types]


def _makers(job: Job, material: Material, base: str) -> Iterator[Step]:
    """The steps that read the source, and those that need an importance matrix."""
    if material.dialect is not None:
        inputs = (SOURCE, IMATRIX) if job.imatrix else (SOURCE,)
        for kind in job.types:
            yield _step("quantize", _name(material, kind, base), inputs, type=kind, dialect=base)
        return
    weighted = [kind for kind in job.types if job.imatrix and not is_float(kind)]
    direct = [kind for kind in job.types if kind not in weighted]
    read = (SOURCE, TARGET) if material.borrows else (SOURCE,)
    for kind in [*direct, *([EXACT] if weighted and EXACT not in direct else [])]:
        yield _step("convert", _name(material, kind, base), read, type=kind, dialect=base, name=material.name)
    for kind in weighted:
        inputs = (_name(material, EXACT, base), IMATRIX)
        yield _step("quantize", _name(material, kind, base), inputs, type=kind, dialect=base)


def is_float(kind: str) -> bool:
    found = find_kind(kind)
    return isinstance(found, FileType) and found.base in FLOAT_TYPES


def _name(material: Material, kind: str, dialect: str) -> str:
    return str(FileName.of_checkpoint(Part.ASSISTANT, material.name, material.family).of_type(kind, dialect))


def _step(action: str, file: str, inputs: tuple[str, ...], **settings: str) -> Step:
    return Step(action, file, inputs, {**settings, "gemma-mtp": code_revision(action)})
