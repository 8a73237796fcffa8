"""The keys of one file."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_mtp.model.family import FAMILY
from gemma_mtp.model.keys import COMMON_KEYS
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.checks.identity import RECONVERT
from gemma_mtp.validate.findings import Finding, error, ok, skipped


def model_keys(side: OpenModel) -> Finding:
    """Every key of the model is there, of the right type and possible."""
    faults = side.keys.faults or ((side.model,) if isinstance(side.model, str) else ())
    read = sum(key.name in side.keys.values for key in side.family.keys if side.part in key.parts)
    return _judged(side, faults, f"the {side.part}'s header is not that of a {FAMILY.title} {side.part}", read)


def common_keys(side: OpenModel) -> Finding:
    """Keys of tokenizer and file have the types and lengths that llama.cpp's loader takes; no token is there twice,
    and what counts as a byte is written as one."""
    faults = (*side.common_faults, *side.token_faults)
    read = sum(key.name in side.metadata for key in COMMON_KEYS if key.name.startswith("tokenizer."))
    return _judged(side, faults, f"llama.cpp cannot use the {side.part}'s header", read)


def _judged(side: OpenModel, faults: Sequence[str], what: str, read: int) -> Finding:
    if not faults:
        return ok(**{side.part: f"{read} keys"})
    text = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
    return error(f"{what}: {text}", RECONVERT, **{side.part: f"{len(faults)} wrong"})


def mtp_layers(side: OpenModel) -> Finding:
    """`nextn_predict_layers` = `block_count`: llama.cpp asserts that all layers of an assistant are MTP layers."""
    wanted, found = side.hyper.layers, side.keys.values.get("nextn_predict_layers")
    if found is None:
        return skipped("this dialect has no such key")
    if found == wanted:
        return ok("", f"{found} of {wanted}")
    return error(
        f"{side.spelled('nextn_predict_layers')} is {found}, block_count is {wanted}; llama.cpp stops at an assistant "
        "in which not every layer is an MTP layer",
        RECONVERT,
        "",
        f"{found} of {wanted}",
    )


def own_width(side: OpenModel) -> Finding:
    """The assistant says a target width, and it is not its own: llama.cpp takes that for a missing key."""
    values = ("", f"{side.hyper.backbone} / {side.hyper.hidden}")
    if side.hyper.backbone != side.hyper.hidden:
        return ok(*values)
    return error(
        f"{side.spelled('embedding_length_out')} is the assistant's own width, {side.hyper.hidden}; llama.cpp refuses "
        "such a file (`requires embedding_length_out to carry the target hidden size`)",
        "there is no assistant with its target's width; " + RECONVERT,
        *values,
    )
