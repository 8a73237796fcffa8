"""What a DFlash drafter reads from its target, and what it says of itself. Sources: llama.cpp, src/models/dflash.cpp,
src/llama-graph.cpp and common/speculative.cpp (b11549).
"""

from __future__ import annotations

from math import isclose
from pathlib import Path

import numpy as np

from gemma_mtp import advice
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dflash.attachment import missing_layers
from gemma_mtp.model.dflash.parameters import SELECTOR, TOKEN_IDS, DFlashParameters, scale_of
from gemma_mtp.model.family import FOREIGN
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.findings import Finding, error, note, ok, skipped, warning
from gemma_mtp.validate.pair import Pair, Single

OTHER_DRAFTER = "use the drafter that was trained for this target"
AGAIN = "convert the drafter's checkpoint again"
MASK, SCALE = "tokenizer.ggml.mask_token_id", "dflash.embedding_scale"
UNSCALED = "llama.cpp takes 1, so the tokens of a block are too small beside what the drafter computes of them"
#: Measured: docs/convert.md.
COST = "On the one trained pair where this was measured it cost 1 to 5 of 100 accepted drafts"


def drafter(side: OpenModel) -> DFlashParameters:
    """The parameters of a side that is a DFlash drafter, and whose keys were found right."""
    model = side.hyper
    assert isinstance(model, DFlashParameters)
    return model


def _anew(drafter: str | Path, target: str | Path) -> str:
    return advice.ours("convert", drafter, options={"-o": advice.OUTPUT, "--target": str(target)})


def dialect(one: Single) -> Finding:
    """The drafter is written as mainline llama.cpp reads it."""
    found = one.side.dialect
    assert found is not None
    value = f"{found.architecture} ({found.name})"
    if SELECTOR in one.side.tensors:
        measure = {"--method": f"dflash:{one.side.place}", "--engine": "cpp"}
        return error(
            "this is a DFlash2 drafter: llama.cpp knows its selector and its convolutions, the checks here do not",
            f"{advice.ours('bench', advice.TARGET, options=measure)} tells whether llama.cpp drafts with it",
            "",
            value,
        )
    if found is one.side.family.mainline:
        return ok("", value, f"loads in {found.runtimes}")
    return error(
        f"the drafter is written for {found.runtimes}; llama.cpp stops with `unknown model architecture: "
        f"'{found.architecture}'`",
        f"{_anew(one.side.place, advice.TARGET)} writes it in mainline's form",
        "",
        value,
    )


def width(pair: Pair) -> Finding:
    """The drafter is as wide as its target, whose hidden states, embeddings and head it uses."""
    has, wants = pair.target.hyper.hidden, drafter(pair.assistant).hidden
    if has == wants:
        return ok(has, wants)
    return error(
        f"this drafter is for a target of width {wants}, the target's is {has}; llama.cpp reads foreign memory",
        OTHER_DRAFTER,
        has,
        wants,
    )


def target_layers(pair: Pair) -> Finding:
    """Every layer that the drafter reads is one that the target has, and whose output another layer reads."""
    layers, read = pair.target.hyper.layers, drafter(pair.assistant).target_layers
    values = (f"{layers} layers", ", ".join(map(str, read)))
    beyond = missing_layers(pair.target.hyper, drafter(pair.assistant))
    if not beyond:
        return ok(*values)
    return error(
        f"the drafter reads the output of layer {beyond[0]}, the target's last is {layers - 1}, which is no layer's "
        "input; llama.cpp aborts with `layer input tensor is null`, or earlier",
        OTHER_DRAFTER,
        *values,
    )


def features(side: OpenModel) -> Finding:
    """`fc` takes as many numbers as the drafter's target layers have together: their count times its width."""
    model, tensor = drafter(side), side.tensors.get("fc.weight")
    if tensor is None:
        return skipped("there is no such tensor")
    value = f"{len(model.target_layers)} x {model.backbone} = {model.features}"
    if tensor.shape == (model.hidden, model.features):
        return ok("", value)
    return error(
        f"{tensor.name} takes {tensor.shape[-1]:,} numbers; {len(model.target_layers)} target layers of width "
        f"{model.backbone} have {model.features:,}: target_layers is wrong, or the tensor",
        AGAIN,
        "",
        value,
    )


def distinct_layers(side: OpenModel) -> Finding:
    """The target layers ascend: each is read once."""
    read = drafter(side).target_layers
    value = ", ".join(map(str, read))
    if list(read) == sorted({*read}):
        return ok("", value)
    return warning(
        f"the target layers {value} do not ascend", f"compare them with the checkpoint's; {AGAIN}", "", value
    )


def mask_token(side: OpenModel) -> Finding:
    """The token that stands for what is not drafted yet is named, and one of the vocabulary."""
    found = side.metadata.get(MASK)
    number = None if found is None else found.integer()
    vocabulary = drafter(side).vocabulary
    if number is not None and 0 <= number < vocabulary:
        return ok("", number)
    what = f"{MASK} is {'missing' if number is None else number}"
    return error(
        f"{what}: llama.cpp would fill its blocks with a token that does not exist", AGAIN, "", number or "none"
    )


def block_size(side: OpenModel) -> Finding:
    """A block has room for a draft."""
    block, drafts = drafter(side).block, drafter(side).most_drafts
    if drafts > 0:
        return ok("", f"{block}: up to {drafts} drafts a round")
    return error(f"block_size is {block}: there is no room for a draft", AGAIN, "", block)


def window(pair: Pair) -> Finding:
    """How far back the drafter's sliding layers look; it need not be as far as the target's do."""
    model = drafter(pair.assistant)
    has = pair.target.hyper.sliding_window
    if not model.windowed:
        return ok(has, "none: all layers see everything")
    if model.sliding_window >= model.block:
        return ok(has, model.sliding_window)
    return error(
        f"the drafter's window of {model.sliding_window} is shorter than its block of {model.block}",
        AGAIN,
        has,
        model.sliding_window,
    )


def own_embeddings(side: OpenModel) -> Finding:
    """Embeddings and head are the target's, or the file's own."""
    own = [name for name in ("token_embd.weight", "output.weight") if name in side.tensors]
    some = drafter(side).draft_vocabulary
    knows = f", for {some:,} tokens" if some else ""
    return ok("", f"its own {' and '.join(own)}{knows}" if own else "the target's")


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


def embedding_scale(pair: Pair) -> Finding:
    """The drafter scales the embeddings that it borrows as its target does: by the root of the width."""
    model = drafter(pair.assistant)
    wanted, found = scale_of(pair.target.hyper.hidden), model.embedding_scale
    values = (f"{wanted:.4g}", "none" if found is None else f"{found:.4g}")
    if "token_embd.weight" in pair.assistant.tensors:
        return note("the drafter has embeddings of its own: whether they are scaled, its checkpoint knows", *values)
    if found and isclose(found, wanted, rel_tol=1e-3):
        return ok(*values)
    if found == 1:
        return note(
            f"{SCALE} says that the embeddings are not scaled: drafters in RedHatAI's layout are trained so; of others "
            "the file would be wrong",
            *values,
        )
    if not found:
        what = "missing" if found is None else "0"
        return note(f"{SCALE} is {what}: {UNSCALED}. {_without_scale(pair)}", *values)
    return warning(
        f"{SCALE} is {found:.4g}, not {wanted:.4g}: the tokens of a block have another size than in training",
        "take the file of the drafter's maker, or convert its checkpoint",
        *values,
    )


def _without_scale(pair: Pair) -> str:
    """What that costs, and who writes the key: of families that are only checked, nobody here does."""
    if pair.assistant.family.name in FOREIGN:
        return "What that costs such a drafter was not measured, and nothing here writes its files"
    return f"{COST}; {_anew(pair.assistant.place, pair.target.place)} writes the file with the key"
