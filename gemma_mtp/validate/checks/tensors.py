"""The tensors of one file: all there, nothing else there, of the right shape, of a type that llama.cpp can use."""

from __future__ import annotations

from gemma_mtp.advice import into_mainline
from gemma_mtp.errors import some
from gemma_mtp.files.gguf_reader import MAX_DIMENSIONS
from gemma_mtp.ggml import IK, LLAMA, ForeignType, GGMLType
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.part import Part
from gemma_mtp.model.roles import Slot
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.checks.identity import RECONVERT
from gemma_mtp.validate.findings import Finding, error, ok, skipped
from gemma_mtp.validate.host import IK_LLAMA
from gemma_mtp.validate.pair import Single
from gemma_mtp.validate.tensor_names import expected, surplus

#: Types for other numbers than stored weights (Q8_1 and Q8_K are what activations become inside of a kernel).
NO_WEIGHTS = frozenset(
    {GGMLType.F64, GGMLType.I8, GGMLType.I16, GGMLType.I32, GGMLType.I64, GGMLType.Q8_1, GGMLType.Q8_K}
)

#: Names that mainline's loader declares without dimensions, so that a file that HAS them fails to load.
MASKED_EMBEDDINGS = ("masked_embd_centroids.weight", "masked_embd_ordering")
LAYER_SCALE, TOKEN_ORDERING = "layer_output_scale", "token_ordering"
#: The head of a drafter that knows some of the tokens alone (a list of them is there), and what happens without it.
OUTPUT, NO_OUTPUT = "output", "loads it with the target's, whose rows are all tokens, and aborts at the first draft"
#: Beginnings of the names of vision and audio tensors, which belong into a file of their own (mmproj).
OTHER_SENSES = ("v.", "a.", "mm.")
#: The key of files that leave out what the target has as well.
SHARED_TENSORS = ".nextn_shared_target_tensors"


def layout(side: OpenModel) -> Finding:
    """The tensors lie one after the other, as the header lists them: llama.cpp reads no other file."""
    if not side.header.disorder:
        return ok()
    return error(
        f"in the {side.part} {side.header.disorder}; llama.cpp stops with `failed to read tensor data`",
        f"{into_mainline(side.place)} writes them in order" if side.part == Part.ASSISTANT else RECONVERT,
        **{side.part: "out of order"},
    )


def present(side: OpenModel) -> Finding:
    """Every tensor that the model has is in the file."""
    wanted = expected(side).needed
    if side.part == Part.TARGET:  # llama.cpp goes on without a target's layer scales: a check of its own
        wanted = {name: slot for name, slot in wanted.items() if slot.role.name != LAYER_SCALE}
    missing = [name for name in wanted if name not in side.tensors]
    values = {side.part: f"{len(side.tensors)} tensors"}
    if not missing:
        return ok(**values)
    if any(key.endswith(SHARED_TENSORS) for key in side.metadata):
        return error(
            f"the {side.part} lacks {some(missing)}, which it means to share with its target: only Unsloth's builds "
            "of llama.cpp load such a file (`-shared-` in its name)",
            f"use the self-contained file of the same repo, or {RECONVERT}",
            **values,
        )
    stops_at = next((name for name in missing if wanted[name].role.name != OUTPUT), None)
    return error(
        f"the {side.part} lacks {some(missing)}; llama.cpp "
        + (f"stops with `missing tensor '{stops_at}'`" if stops_at else NO_OUTPUT),
        RECONVERT,
        **values,
    )


def layer_scales(side: OpenModel) -> Finding:
    """The target's layer scales are there. llama.cpp takes 1 for a missing one, and computes nonsense."""
    wanted = [name for name, slot in expected(side).needed.items() if slot.role.name == LAYER_SCALE]
    missing = [name for name in wanted if name not in side.tensors]
    value = f"{len(wanted) - len(missing)} of {len(wanted)}"
    if not missing:
        return ok(value)
    return error(
        f"the target lacks {some(missing)}; llama.cpp says nothing, takes 1 and computes another function",
        "convert the target again",
        value,
    )


def shapes(side: OpenModel) -> Finding:
    """Every tensor is as large as the header says."""
    wrong = [
        f"{name} is {list(side.tensors[name].shape)}, not {list(slot.shape(side.hyper))}"
        for name, slot in expected(side).allowed.items()
        if name in side.tensors and _in_full(side.tensors[name].shape) != _in_full(slot.shape(side.hyper))
    ]
    if not wrong:
        return ok()
    return error(
        f"in the {side.part} {some(wrong)}: the file is damaged, or was made by a tool that mixed up widths",
        RECONVERT,
        **{side.part: f"{len(wrong)} wrong"},
    )


def _in_full(shape: tuple[int, ...]) -> tuple[int, ...]:
    """As ggml has every shape, in all its dimensions: [32, 16] and [1, 32, 16] are the same to it."""
    return (1,) * (MAX_DIMENSIONS - len(shape)) + shape


def target_types(one: Single) -> Finding:
    """Weights are of a type that the runtime multiplies with; norms and scales are F32, which its kernels require."""
    return _types(one)


def assistant_types(one: Single) -> Finding:
    """The same for the assistant. A type of ik_llama.cpp's own loads there alone (`--runtime ik_llama.cpp`)."""
    return _types(one)


def _types(one: Single) -> Finding:
    side, host = one.side, one.host
    kinds = sorted({tensor.type.name for tensor in side.tensors.values()})
    values = {side.part: ", ".join(kinds)}
    wrong = [fault for name, slot in expected(side).allowed.items() if (fault := _type_fault(side, name, slot))]
    if wrong:
        return error(f"in the {side.part} {some(wrong)}; llama.cpp has no kernel for that", RECONVERT, **values)
    foreign = {kind for tensor in side.tensors.values() if isinstance(kind := tensor.type, ForeignType)}
    unreadable = [kind for kind in foreign if kind.runtime != (IK if host.runtime == IK_LLAMA else LLAMA)]
    if unreadable:
        names, runtime = some(sorted(kind.name for kind in unreadable)), unreadable[0].runtime
        return error(
            f"the {side.part} has tensors in {names}, {runtime}'s own: {host.runtime} stops with `invalid ggml type`",
            f"run it in {runtime} (--runtime {runtime}), or use a file in one of llama.cpp's types",
            **values,
        )
    return ok(**values)


def _type_fault(side: OpenModel, name: str, slot: Slot) -> str | None:
    if name not in side.tensors:
        return None
    kind = side.tensors[name].type
    if slot.role.name == TOKEN_ORDERING:
        return None if kind is GGMLType.I32 else f"{name} is {kind.name}, not I32"
    if slot.role.integers:
        return None if kind is GGMLType.I64 else f"{name} is {kind.name}, not I64"
    if slot.role.plain and kind is not GGMLType.F32:
        return f"{name} is {kind.name}, not F32"
    return f"{name} is {kind.name}, which is no type for weights" if kind in NO_WEIGHTS else None


def unexpected(side: OpenModel) -> Finding:
    """Nothing is in the file that llama.cpp's loader does not know: it counts, and stops at one too many."""
    known_elsewhere = MASKED_EMBEDDINGS if side.dialect is MAINLINE else ()  # a check of its own
    extra = [name for name in surplus(side, expected(side)) if name not in known_elsewhere]
    values = {side.part: f"{len(extra)} unknown" if extra else ""}
    if not extra:
        return ok()
    message = (
        f"the {side.part} has tensors that llama.cpp does not know ({some(extra)}); it stops with `wrong number of "
        "tensors`"
    )
    if any(name.startswith(OTHER_SENSES) for name in extra):
        return error(
            f"{message}. Vision and audio are packed into this file, as Ollama's own engine wants it",
            "use a GGUF made for llama.cpp, with vision and audio in a separate mmproj file",
            **values,
        )
    return error(message, RECONVERT, **values)


def masked_embeddings(side: OpenModel) -> Finding:
    """No `masked_embd_*`: the trap behind `vector::_M_range_check` and `invalid vector subscript`."""
    if side.dialect is not MAINLINE:
        return skipped("only mainline's dialect has names for them")
    found = [name for name in MASKED_EMBEDDINGS if name in side.tensors]
    if not found:
        return ok("", "none")
    return error(
        f"the assistant has {some(found)}: llama.cpp knows the name but fails on such a file, with "
        "`vector::_M_range_check` or, on Windows, `invalid vector subscript`",
        f"{into_mainline(side.place)} moves the centroid head into metadata, which llama.cpp skips",
        "",
        ", ".join(found),
    )
