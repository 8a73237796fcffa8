"""Rotary positions: the assistant's queries must be rotated as the target's keys are, or it drafts noise silently."""

from __future__ import annotations

import numpy as np

from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.roles import ROPE_FREQS_NAME
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.checks.attachment import OTHER_ASSISTANT
from gemma_mtp.validate.findings import Finding, error, ok, skipped
from gemma_mtp.validate.pair import Pair


def rope_bases(pair: Pair) -> Finding:
    """Same base frequency, for sliding and for full layers."""
    has, wants = (
        f"{model.rope_base_sliding:,.0f} / {model.rope_base_full:,.0f}"
        for model in (pair.target.hyper, pair.assistant.hyper)
    )
    target, assistant = pair.target.hyper, pair.assistant.hyper
    if (target.rope_base_sliding, target.rope_base_full) == (assistant.rope_base_sliding, assistant.rope_base_full):
        return ok(has, wants)
    return error(
        f"the target's rope bases (sliding / full) are {has}, the assistant's {wants}: queries and keys would be "
        "rotated differently, and the drafts noise",
        OTHER_ASSISTANT,
        has,
        wants,
    )


def rope_dimensions(pair: Pair) -> Finding:
    """As many dimensions of a head are rotated in both."""
    has, wants = (
        f"{side.keys.values['rope.dimension_count_swa']} / {side.keys.values['rope.dimension_count']}"
        for side in (pair.target, pair.assistant)
    )
    if has == wants:
        return ok(has, wants)
    return error(
        f"the target rotates {has} dimensions of a head (sliding / full), the assistant {wants}; the drafts would "
        "be noise",
        OTHER_ASSISTANT,
        has,
        wants,
    )


def rope_factors(pair: Pair) -> Finding:
    """Same divisors of the full layers' rotary frequencies (tensor data, a few hundred numbers)."""
    has, wants = _factors(pair.target), _factors(pair.assistant)
    if has is None or wants is None:
        return skipped("rope_freqs is not at hand in both files")
    values = (_describe(has), _describe(wants))
    if np.array_equal(has, wants):
        return ok(*values)
    return error(
        "rope_freqs differs between target and assistant: full layers would rotate queries and keys differently, "
        "and the drafts be noise",
        OTHER_ASSISTANT,
        *values,
    )


def _factors(side: OpenModel) -> np.ndarray | None:
    tensor = side.tensors.get(ROPE_FREQS_NAME)
    if tensor is None or tensor.type is not GGMLType.F32 or side.read is None:
        return None
    return side.data(tensor).view(np.float32)


def _describe(factors: np.ndarray) -> str:
    return f"{int(np.count_nonzero(factors == 1))} of {factors.size} pairs rotated"
