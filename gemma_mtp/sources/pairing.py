"""Whether two files can be run as a pair at all: the cases in which llama.cpp would abort the process or read foreign
memory instead of refusing. Headers only. Everything else that can be wrong with a pair is `gemma-mtp verify`'s job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from os import PathLike
from pathlib import Path

from gemma_mtp.advice import into_mainline, ours
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.model.attachment import expected, given, misplaced_donors
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dflash.attachment import misfits
from gemma_mtp.model.dflash.parameters import DFlashParameters
from gemma_mtp.model.family import FAMILY
from gemma_mtp.model.part import Part
from gemma_mtp.native.settings import ModelSettings
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import Want, open_model


def check_runnable(
    target: str | PathLike[str], assistant: str | PathLike[str] | None = None, model: ModelSettings | None = None
) -> Hyperparameters:
    """The target's hyper-parameters, once both GGUFs on this machine are seen to be what they are named as, and to fit.

    model: where they are to be, for an assistant must be able to read its target's caches there.
    Raises GGUFError (no GGUF file), BadFileError (another model, or a pair on which llama.cpp would abort or draft from
    keys and values of another shape), UsageError (a checkpoint; an assistant where it cannot read them).
    """
    with ExitStack() as stack:
        target_file = stack.enter_context(open_model(Path(target), Part.TARGET, want=Want.FILE))
        _check_target(target_file)
        owner = _understood(target_file)
        if assistant is not None:
            assistant_file = stack.enter_context(open_model(Path(assistant), Part.ASSISTANT, want=Want.FILE))
            _check_assistant(assistant_file)
            _check_pair(target_file, owner, assistant_file, _understood(assistant_file))
            if model is not None and assistant_file.family is FAMILY:
                model.require_drafter_near(at_the_end=not owner.shared_kv_layers)
        return owner


#: Of a file with the weights that turn images into what a target reads (llama.cpp, tools/mtmd/clip-impl.h).
PROJECTOR, SEES, INTO_TARGET = "clip", "clip.has_vision_encoder", "mm.input_projection.weight"


def check_projector(target: str | PathLike[str], mmproj: str | Path) -> None:
    """Whether a file gives this target eyes: headers only.

    Raises GGUFError (no GGUF file), BadFileError (something else, or a projector for another target).
    """
    with GGUFFile(mmproj) as file:
        architecture, sees = file.metadata.architecture, file.metadata.get(SEES)
        matrix = file.tensors.get(INTO_TARGET)
    if architecture != PROJECTOR or sees is None or not sees.decode():
        raise BadFileError(
            f"this is no projector of images: its architecture is {architecture or 'not named'}",
            where=mmproj,
            hint="name the mmproj-....gguf that stands beside the target on the Hub",
        )
    width = check_runnable(target).hidden
    if matrix is not None and matrix.shape[0] != width:
        raise BadFileError(
            f"this projector makes rows of {matrix.shape[0]:,} numbers, the target reads rows of {width:,}",
            where=mmproj,
            hint="take the projector of this target's size",
        )


def _understood(file: OpenModel) -> Hyperparameters:
    if isinstance(file.model, str):
        raise BadFileError(file.model, where=file.place, hint=f"{ours('inspect', file.place)} shows what it holds")
    return file.model


def _check_target(target: OpenModel) -> None:
    if target.actual_part is Part.TARGET:
        return
    architecture = target.architecture or "not named"
    if target.actual_part is Part.ASSISTANT:
        raise BadFileError(
            f"this is an assistant ({architecture}), where the target is expected",
            where=target.place,
            hint="name the target first, then the assistant",
        )
    raise BadFileError(
        f"its architecture is {architecture}; MTP assistants exist for {FAMILY.architectures[Part.TARGET]} targets",
        where=target.place,
    )


def _check_assistant(assistant: OpenModel) -> None:
    dialect = assistant.dialect
    if dialect is assistant.family.mainline:
        return
    if dialect is None or assistant.actual_part is Part.TARGET:
        raise BadFileError(
            f"its architecture is {assistant.architecture or 'not named'}; an assistant's is "
            f"{FAMILY.architectures[Part.ASSISTANT]}",
            where=assistant.place,
        )
    raise BadFileError(
        f"this assistant is in the dialect {dialect.name}, which is for {dialect.runtimes}",
        where=assistant.place,
        hint=into_mainline(assistant.place),
    )


def _check_pair(target: OpenModel, owner: Hyperparameters, assistant: OpenModel, drafter: Hyperparameters) -> None:
    if isinstance(drafter, DFlashParameters):
        faults = list(misfits(owner, drafter))
        if faults:
            raise _other_target(target, assistant, faults)
        return
    differences = (one for one in _comparisons(owner, drafter) if one[1] != one[2])
    faults = [f"{what} is {found:,} in the assistant, {wanted:,} in the target" for what, found, wanted in differences]
    if faults:
        raise _other_target(target, assistant, faults)
    if misplaced_donors(owner):
        raise BadFileError(
            "no assistant can attach to this target: its last two layers are not a sliding and a full one",
            where=target.place,
            hint=f"{ours('verify', target.place, assistant.place)} compares all of it",
        )


def _other_target(target: OpenModel, assistant: OpenModel, faults: list[str]) -> BadFileError:
    return BadFileError(
        "this assistant belongs to another target: " + "; ".join(faults),
        where=assistant.place,
        hint=f"{ours('verify', target.place, assistant.place)} compares all of it",
    )


def _comparisons(owner: Hyperparameters, drafter: Hyperparameters) -> Iterator[tuple[str, int, int]]:
    """(what, in the assistant, in the target)."""
    has, wants = given(owner), expected(drafter)
    yield "backbone width", wants.width, has.width
    yield "vocabulary", drafter.vocabulary, owner.vocabulary
    for index, kind in enumerate(("sliding", "full")):
        yield f"KV heads ({kind})", wants.kv_heads[index], has.kv_heads[index]
        yield f"head size ({kind})", wants.head_dims[index], has.head_dims[index]
