"""What the assistant reads from its target (`gemma_mtp.model.attachment`). A mismatch aborts the process or drafts
noise without a word, so all of it is compared here.
"""

from __future__ import annotations

from gemma_mtp import advice
from gemma_mtp.model.attachment import expected, given, misplaced_donors
from gemma_mtp.model.family import FAMILY
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.findings import Finding, error, ok
from gemma_mtp.validate.pair import Pair

OTHER_ASSISTANT = advice.OTHER_ASSISTANT


def sized(width: int) -> str:
    return f"{FAMILY.sizes[width]} ({width})" if width in FAMILY.sizes else str(width)


def width(pair: Pair) -> Finding:
    """The hidden state that the target hands over is as wide as the assistant expects."""
    has, wants = given(pair.target.hyper).width, expected(pair.assistant.hyper).width
    if has == wants:
        return ok(sized(has), sized(wants))
    return error(
        f"this assistant is for a target of {'size' if wants in FAMILY.sizes else 'width'} {sized(wants)}, the target "
        f"is {sized(has)}; llama.cpp aborts at the first draft",
        OTHER_ASSISTANT,
        sized(has),
        sized(wants),
    )


def donor_layers(side: OpenModel) -> Finding:
    """The target's last two layers, and the last two with a KV cache of their own, are sliding and full."""
    target = side.hyper
    wrong = misplaced_donors(target)
    value = "..., sliding, full" if target.layers > 2 else "sliding, full"
    if not wrong:
        return ok(value, "")
    kinds = ", ".join("sliding" if flag else "full" for flag in target.sliding[-4:])
    return error(
        f"the target's layer {wrong[0]} of {target.layers} is {'sliding' if target.sliding[wrong[0]] else 'full'}; the "
        "assistant takes its keys and values from a sliding layer n-2 and a full layer n-1, so it would draft noise",
        "the target's layers were cut or merged; use the original model, an assistant cannot attach to this one",
        f"..., {kinds}" if target.layers > 4 else kinds,
    )


def kv_heads(pair: Pair) -> Finding:
    """Donor layers have as many key/value heads as the assistant believes."""
    has, wants = given(pair.target.hyper).kv_heads, expected(pair.assistant.hyper).kv_heads
    values = (_by_kind(has), _by_kind(wants))
    if has == wants:
        return ok(*values)
    return error(
        f"the target's sliding / full layers have {values[0]} KV heads, the assistant expects {values[1]}; llama.cpp "
        "aborts or drafts noise",
        OTHER_ASSISTANT,
        *values,
    )


def head_size(pair: Pair) -> Finding:
    """Keys and values are as long in the donor layers as the assistant believes."""
    has, wants = given(pair.target.hyper).head_dims, expected(pair.assistant.hyper).head_dims
    values = (_by_kind(has), _by_kind(wants))
    if has == wants:
        return ok(*values)
    effect = "aborts" if has[1] != wants[1] else "drafts noise without an error"
    return error(
        f"heads of the target's sliding / full layers are {values[0]} long, the assistant expects {values[1]}; "
        f"llama.cpp {effect}",
        OTHER_ASSISTANT,
        *values,
    )


def query_heads(pair: Pair) -> Finding:
    """In both models the query heads are a multiple of the key/value heads."""
    values = []
    for side in (pair.target, pair.assistant):
        model = side.hyper
        values.append(f"{model.heads} over {_by_kind((model.kv_heads_sliding, model.kv_heads_full or 0))}")
        for kv in {model.kv_heads(layer) for layer in range(model.layers)}:
            if model.heads % kv:
                return error(
                    f"the {side.part} has {model.heads} query heads over {kv} KV heads, which is no whole group",
                    OTHER_ASSISTANT,
                    **{side.part: f"{model.heads} over {kv}"},
                )
    return ok(*values)


def sliding_window(pair: Pair) -> Finding:
    """Both look equally far back in sliding layers."""
    has, wants = pair.target.hyper.sliding_window, pair.assistant.hyper.sliding_window
    if has == wants:
        return ok(has, wants)
    return error(
        f"the target's sliding window is {has} tokens, the assistant's {wants}; past the smaller one the assistant "
        "attends to the wrong tokens and drafts noise without an error",
        OTHER_ASSISTANT,
        has,
        wants,
    )


def _by_kind(values: tuple[int, int]) -> str:
    return f"{values[0]} / {values[1]}"
