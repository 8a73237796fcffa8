"""What an EAGLE3 head or a DSpark drafter reads from its target, and what it says of itself. Sources: llama.cpp,
src/models/eagle3.cpp, src/models/dflash.cpp and common/speculative.cpp (b11549).
"""

from __future__ import annotations

from gemma_mtp.model.dflash.dspark import CONFIDENCE, CONFIDENT, DSparkParameters
from gemma_mtp.model.eagle3 import Eagle3Parameters
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.checks.dflash import AGAIN, OTHER_DRAFTER
from gemma_mtp.validate.findings import Finding, error, note, ok, warning
from gemma_mtp.validate.pair import Pair


def head(side: OpenModel) -> Eagle3Parameters:
    """The parameters of a side that is an EAGLE3 head, and whose keys were found right."""
    model = side.hyper
    assert isinstance(model, Eagle3Parameters)
    return model


def target_width(pair: Pair) -> Finding:
    """The head was made for rows as wide as the target's."""
    has, wants = pair.target.hyper.hidden, head(pair.assistant).backbone
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


def confidence(side: OpenModel) -> Finding:
    """The drafter has the head that judges its drafts if it says so: llama.cpp cuts drafts by it."""
    model = side.hyper
    assert isinstance(model, DSparkParameters)
    has, key = CONFIDENCE in side.tensors, side.spelled(CONFIDENT)
    if not model.confident:
        stops = "llama.cpp stops at it where --spec-draft-p-min is above 0"
        return note(f"{key} says that there is no confidence head: {stops}", "", "none")
    if has:
        return ok("", "its own")
    return warning(
        f"there is no {CONFIDENCE}, and {key} does not say so: where --spec-draft-p-min is above 0, llama.cpp cuts "
        "drafts by numbers that are no confidence",
        f"draft with --spec-draft-p-min 0, or {AGAIN}",
        "",
        "none",
    )
