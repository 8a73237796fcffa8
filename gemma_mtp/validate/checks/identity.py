"""Which file is which, and who can read it: failures that are otherwise reported as "unknown architecture"."""

from __future__ import annotations

from gemma_mtp import advice
from gemma_mtp.model.family import FAMILY
from gemma_mtp.model.part import Part
from gemma_mtp.sources.drafting import foreign
from gemma_mtp.sources.model import TQ3_KEY, OpenModel
from gemma_mtp.validate.findings import Finding, error, ok
from gemma_mtp.validate.pair import Pair

RECONVERT = advice.RECONVERT
_MADE_FOR = f"MTP assistants exist for {FAMILY.title} ({FAMILY.architectures[Part.TARGET]}) alone"


def two_files(pair: Pair) -> Finding:
    """The same file twice: under one name, or a copy."""
    target, assistant = pair.target, pair.assistant
    if target.place == assistant.place or _same_content(target, assistant):
        return error(
            f"target and assistant are the same {target.actual_part or 'file'}",
            "name the target first and its assistant (`...-it-assistant`, `mtp-...gguf`) second",
            target.place,
            assistant.place,
        )
    return ok(f"{target.header.size:,} bytes", f"{assistant.header.size:,} bytes")


def _same_content(target: OpenModel, assistant: OpenModel) -> bool:
    one, other = target.header, assistant.header
    same_header = (one.size, one.tensors) == (other.size, other.tensors) and one.metadata == other.metadata
    if not same_header or target.read is None or assistant.read is None:
        return same_header
    smallest = min(one.tensors.values(), key=lambda tensor: tensor.nbytes, default=None)
    return smallest is None or bytes(target.data(smallest)) == bytes(assistant.data(smallest))


def parts(pair: Pair) -> Finding:
    """A target and an assistant, in this order."""
    target, assistant = pair.target, pair.assistant
    values = (_kind(target), _kind(assistant))
    if (target.actual_part, assistant.actual_part) == (Part.ASSISTANT, Part.TARGET):
        return error(
            "the arguments are swapped: the first file is the assistant, the second the target",
            advice.ours("verify", assistant.place, target.place),
            *values,
        )
    if target.actual_part == Part.ASSISTANT:
        return error(
            "the target is an assistant: loaded as the main model it fails with `requires ctx_other to be set`",
            "give the full model as target (llama-server: -m), the assistant as drafter (-md)",
            *values,
        )
    if assistant.actual_part == Part.TARGET:
        return error(
            "the assistant is a full chat model, not an MTP assistant",
            "use the `...-it-assistant` model for this target, or llama.cpp's --spec-type draft-simple",
            *values,
        )
    if other := foreign(assistant):
        return _foreign(assistant, *other)
    for side in (target, assistant):
        if side.actual_part is None:
            return error(_why_unknown(side), _remedy_unknown(side), *values)
    return ok(*values)


def alone(side: OpenModel) -> Finding:
    """What a file is meant as is what it is."""
    if side.part is Part.ASSISTANT and (other := foreign(side)):
        return _foreign(side, *other)
    if side.actual_part == side.part:
        return ok(**{side.part: _kind(side)})
    if side.actual_part is None:
        return error(_why_unknown(side), _remedy_unknown(side), **{side.part: _kind(side)})
    what = f"this is no {side.part}, but the {side.actual_part}"
    return error(what, f"name the {side.part}'s file", **{side.part: _kind(side)})


def _foreign(side: OpenModel, title: str, command: str) -> Finding:
    """Asked by somebody who would do more with it than check it."""
    return error(
        f"this is {title}, which is only checked and measured here",
        f"{advice.ours('verify', advice.TARGET, side.place)} checks it, {command} measures it",
        **{Part.ASSISTANT: _kind(side)},
    )


def _kind(side: OpenModel) -> str:
    return f"{side.architecture or 'no architecture'}{f' ({side.actual_part})' if side.actual_part else ''}"


def _why_unknown(side: OpenModel) -> str:
    if TQ3_KEY in side.metadata:
        is_it = "is in" if side.part == Part.ASSISTANT else "is an assistant in"
        return f"the {side.part} {is_it} the form of the tq3 fork, which other runtimes take for a target"
    if not side.architecture:
        return f"the {side.part} does not say what it is: general.architecture is missing"
    return f"the {side.part} is a {side.architecture} model; {_MADE_FOR}"


def _remedy_unknown(side: OpenModel) -> str:
    if side.part == Part.ASSISTANT or TQ3_KEY in side.metadata:
        return RECONVERT
    return f"name a GGUF of {FAMILY.title}'s text model"
