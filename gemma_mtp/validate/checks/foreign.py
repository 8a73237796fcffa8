"""What an EAGLE3 head or a DSpark drafter reads from its target, and what it says of itself. Sources: llama.cpp,
src/models/eagle3.cpp, src/models/dflash.cpp and common/speculative.cpp (b11549).
"""

from __future__ import annotations

import numpy as np

from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dflash.parameters import TOKEN_IDS
from gemma_mtp.model.eagle3 import Eagle3Parameters
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.checks.dflash import AGAIN, OTHER_DRAFTER, drafter
from gemma_mtp.validate.findings import Finding, error, ok, skipped
from gemma_mtp.validate.pair import Pair


def head(side: OpenModel) -> Eagle3Parameters:
    """The parameters of a side that is an EAGLE3 head, and whose keys were found right."""
    model = side.hyper
    assert isinstance(model, Eagle3Parameters)
    return model


def target_width(pair: Pair) -> Finding:
    """The head was made for rows as wide as the target's."""
    has, wants = pair.target.hyper.hidden, head(pair.assistant).target_hidden
    if has == wants:
        return ok(has, wants)
    return error(
        f"this head reads rows of {wants} numbers (eagle3.target_hidden_size), the target's have {has}; llama.cpp "
        "hands it foreign memory",
        OTHER_DRAFTER,
        has,
        wants,
    )


def borrowed(pair: Pair) -> Finding:
    """What the head has not itself, embeddings or output, is the target's, which must then be as wide as the head."""
    missing = [name for name in ("token_embd.weight", "output.weight") if name not in pair.assistant.tensors]
    has, wants = pair.target.hyper.hidden, head(pair.assistant).hidden
    if not missing:
        return ok("", "all of its own")
    if has == wants:
        return ok(has, wants)
    return error(
        f"the head has no {' and no '.join(missing)}, for which llama.cpp takes the target's: of width {has}, where "
        f"the head's is {wants}",
        AGAIN,
        has,
        wants,
    )


def layers_read(pair: Pair) -> Finding:
    """Every layer that the head reads is one that the target has; one more than the last is what comes out of that."""
    layers, read = pair.target.hyper.layers, head(pair.assistant).target_layers
    values = (f"{layers} layers", ", ".join(map(str, read)))
    beyond = [layer for layer in read if layer > layers]
    if not beyond:
        return ok(*values)
    return error(
        f"the head reads layer {beyond[0]}, the target has {layers}; llama.cpp aborts with `target layer id "
        f"{beyond[0]} exceeds target n_layer {layers}`",
        OTHER_DRAFTER,
        *values,
    )


def draft_tokens(side: OpenModel) -> Finding:
    """Each row of a head of its own stands for another token of the vocabulary."""
    tensor, vocabulary = side.tensors.get(TOKEN_IDS), drafter(side).vocabulary
    if tensor is None:
        return skipped("it drafts all tokens")
    if tensor.type is not GGMLType.I64 or side.read is None:
        return skipped(f"{TOKEN_IDS} is not at hand")
    ids = side.data(tensor).view("<i8")
    outside = ids[(ids < 0) | (ids >= vocabulary)]
    if outside.size:
        fault = f"names token {outside[0]}, the vocabulary ends at {vocabulary - 1:,}: llama.cpp would draft beyond it"
        return error(f"{TOKEN_IDS} {fault}", AGAIN, "", int(outside[0]))
    if np.unique(ids).size != ids.size:
        return error(f"{TOKEN_IDS} has a token twice: one of its rows is another token's", AGAIN, "", f"{ids.size:,}")
    return ok("", f"{ids.size:,} of {vocabulary:,}")
