"""The keys of one file."""

from __future__ import annotations

from gemma_mtp.validate.checks.identity import RECONVERT
from gemma_mtp.validate.findings import Finding, error, ok
from gemma_mtp.validate.keys import KEYS
from gemma_mtp.validate.pair import Pair
from gemma_mtp.validate.side import Side


def target_keys(pair: Pair) -> Finding:
    """Every key of the target is there, of the right type and possible."""
    finding, value = _keys(pair.target)
    return finding or ok(value, "")


def assistant_keys(pair: Pair) -> Finding:
    """Every key of the assistant is there, of the right type and possible."""
    finding, value = _keys(pair.assistant)
    return finding or ok("", value)


def _keys(side: Side) -> tuple[Finding | None, str]:
    faults = side.keys.faults or ((side.model,) if isinstance(side.model, str) else ())
    if not faults:
        return None, f"{sum(side.part in key.parts for key in KEYS)} keys"
    text = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
    values = {side.part: f"{len(faults)} wrong"}
    return error(f"the {side.part}'s header is not that of a Gemma 4 {side.part}: {text}", RECONVERT, **values), ""


def mtp_layers(pair: Pair) -> Finding:
    """`nextn_predict_layers` = `block_count`: llama.cpp asserts that all layers of an assistant are MTP layers."""
    side = pair.assistant
    wanted, found = side.hyper.layers, side.keys.values.get("nextn_predict_layers")
    if found is None:
        return ok("", wanted, "this dialect has no such key")
    if found == wanted:
        return ok("", f"{found} of {wanted}")
    return error(
        f"{side.spelled('nextn_predict_layers')} is {found}, block_count is {wanted}; llama.cpp stops at an assistant "
        "in which not every layer is an MTP layer",
        RECONVERT,
        "",
        f"{found} of {wanted}",
    )


def own_width(pair: Pair) -> Finding:
    """The assistant says a target width, and it is not its own: llama.cpp takes that for a missing key."""
    side = pair.assistant
    values = ("", f"{side.hyper.backbone} / {side.hyper.hidden}")
    if side.hyper.backbone != side.hyper.hidden:
        return ok(*values)
    return error(
        f"{side.spelled('embedding_length_out')} is the assistant's own width, {side.hyper.hidden}; llama.cpp refuses "
        "such a file (`requires embedding_length_out to carry the target hidden size`)",
        "there is no assistant with its target's width; " + RECONVERT,
        *values,
    )
