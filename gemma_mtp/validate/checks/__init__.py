"""The checks, a table for each family. Each is a function from a pair to a finding; the order is the report's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from gemma_mtp.model.family import DFLASH, DSPARK, EAGLE3, FAMILY, Family
from gemma_mtp.model.part import Part
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.checks import (
    attachment,
    content,
    dflash,
    foreign,
    header,
    hosts,
    identity,
    provenance,
    rope,
    template,
    tensors,
    vocabulary,
    weights,
)
from gemma_mtp.validate.findings import Finding
from gemma_mtp.validate.pair import Pair, Single


@dataclass(frozen=True)
class _Check:
    """Its names, for programs and for people."""

    id: str
    title: str


@dataclass(frozen=True)
class PairCheck(_Check):
    """A check that two models are put to together.

    needs: the checks without whose success this one cannot be made or would only repeat their finding.
    """

    run: Callable[[Pair], Finding]
    needs: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        return described(self.run)

    def of(self, pair: Pair) -> Finding:
        return self.run(pair)


@dataclass(frozen=True)
class FileCheck(_Check):
    """A check of one model, a target or an assistant. sound: whether a file that fails it is broken for everybody."""

    run: Callable[[Single], Finding]
    needs: tuple[str, ...] = ()
    sound: bool = True
    part: Part = field(kw_only=True)

    @property
    def description(self) -> str:
        return described(self.run)

    def of(self, pair: Pair) -> Finding:
        """Made of that one of a pair."""
        return self.run(pair.single(self.part))


Check = PairCheck | FileCheck
_target, _drafter = partial(FileCheck, part=Part.TARGET), partial(FileCheck, part=Part.ASSISTANT)


def described(check: Callable[..., Finding]) -> str:
    """What must hold, in a sentence."""
    return " ".join((check.__doc__ or "").split())


def side(check: Callable[[OpenModel], Finding]) -> Callable[[Single], Finding]:
    """A check for which nothing but the model matters."""

    def run(one: Single) -> Finding:
        return check(one.side)

    run.__doc__ = check.__doc__
    return run


def of_family(family: Family) -> tuple[Check, ...]:
    """The checks of a pair whose drafter is of this family."""
    return BY_FAMILY[family.name]


def of_file(part: Part, family: Family = FAMILY) -> tuple[FileCheck, ...]:
    """The checks that a target, or a drafter of this family, can be put to alone."""
    return tuple(check for check in of_family(family) if isinstance(check, FileCheck) and check.part is part)


PARTS = ("files", "parts")
TARGET_KEYS = (*PARTS, "target-keys")
ASSISTANT_KEYS = (*PARTS, "assistant-keys")
TEMPLATE = ("target-template",)
KEYS = (*PARTS, "target-keys", "assistant-keys")
COMMON = (*KEYS, "target-tokenizer", "assistant-tokenizer")

CHECKS: tuple[Check, ...] = (
    PairCheck("files", "Two different files", identity.two_files),
    PairCheck("parts", "A target and an assistant", identity.parts, ("files",)),
    _drafter("dialect", "Dialect that the runtime reads", hosts.dialect, PARTS, sound=False),
    _target("target-keys", "Target: header keys", side(header.model_keys), PARTS),
    _drafter("assistant-keys", "Assistant: header keys", side(header.model_keys), PARTS),
    _target("target-tokenizer", "Target: other keys", side(header.common_keys), TARGET_KEYS),
    _drafter("assistant-tokenizer", "Assistant: other keys", side(header.common_keys), ASSISTANT_KEYS),
    _drafter("mtp-layers", "Assistant: all layers are MTP layers", side(header.mtp_layers), ASSISTANT_KEYS),
    _drafter("own-width", "Assistant: names a target width", side(header.own_width), ASSISTANT_KEYS),
    PairCheck("width", "Hidden width", attachment.width, KEYS),
    _target("donor-layers", "Donor layers", side(attachment.donor_layers), TARGET_KEYS, sound=False),
    PairCheck("kv-heads", "KV heads (sliding / full)", attachment.kv_heads, KEYS),
    PairCheck("head-size", "Head size (sliding / full)", attachment.head_size, KEYS),
    PairCheck("query-heads", "Query heads over KV heads", attachment.query_heads, KEYS),
    PairCheck("sliding-window", "Sliding window", attachment.sliding_window, KEYS),
    PairCheck("rope-base", "Rope base (sliding / full)", rope.rope_bases, KEYS),
    PairCheck("rope-dimensions", "Rotated dimensions (sliding / full)", rope.rope_dimensions, (*KEYS, "head-size")),
    PairCheck("tokenizer", "Tokenizer", vocabulary.tokenizer_model, COMMON),
    PairCheck("vocabulary-size", "Vocabulary size", vocabulary.size, KEYS),
    PairCheck("tokens", "Tokens", vocabulary.tokens, (*COMMON, "vocabulary-size")),
    PairCheck("token-types", "Token types", vocabulary.token_types, (*COMMON, "vocabulary-size")),
    PairCheck("merges", "Merges", vocabulary.merges, COMMON),
    PairCheck("special-tokens", "Special tokens", vocabulary.special_tokens, COMMON),
    _target("target-layout", "Target: order of the data", side(tensors.layout), PARTS),
    _target("target-tensors", "Target: tensors are complete", side(tensors.present), TARGET_KEYS),
    _target("target-layer-scales", "Target: layer scales", side(tensors.layer_scales), TARGET_KEYS),
    _target("target-shapes", "Target: shapes", side(tensors.shapes), TARGET_KEYS),
    _target("target-types", "Target: tensor types", tensors.target_types, TARGET_KEYS),
    _target("target-extra", "Target: no unknown tensors", side(tensors.unexpected), TARGET_KEYS),
    _drafter("assistant-layout", "Assistant: order of the data", side(tensors.layout), PARTS),
    _drafter("assistant-tensors", "Assistant: tensors are complete", side(tensors.present), ASSISTANT_KEYS),
    _drafter("assistant-shapes", "Assistant: shapes", side(tensors.shapes), ASSISTANT_KEYS),
    _drafter("assistant-types", "Assistant: tensor types", tensors.assistant_types, ASSISTANT_KEYS),
    _drafter("assistant-extra", "Assistant: no unknown tensors", side(tensors.unexpected), ASSISTANT_KEYS),
    _drafter("masked-embeddings", "Assistant: no masked_embd tensors", side(tensors.masked_embeddings), PARTS),
    PairCheck("rope-factors", "Rope factors of full layers", rope.rope_factors, (*KEYS, "head-size")),
    _drafter("centroids", "Assistant: centroid head in metadata", side(weights.centroids), ASSISTANT_KEYS),
    _drafter("token-ordering", "Assistant: token ordering", side(weights.token_ordering), ASSISTANT_KEYS),
    _target("target-finite", "Target: weights are finite", weights.target_finite, PARTS),
    _drafter("assistant-finite", "Assistant: weights are finite", weights.assistant_finite, PARTS),
    _target("target-zeros", "Target: no weights of zeros", side(weights.target_zeros), TARGET_KEYS),
    _drafter("assistant-zeros", "Assistant: no weights of zeros", side(weights.assistant_zeros), ASSISTANT_KEYS),
    _target("target-content", "Target: as published", content.target_content, ("files",), sound=False),
    _drafter("assistant-content", "Assistant: as published", content.assistant_content, ("files",), sound=False),
    _drafter("quantizer", "Assistant: a mix of today", side(provenance.old_mix), ASSISTANT_KEYS, sound=False),
    _target("target-template", "Target: chat template", template.parses, TARGET_KEYS, sound=False),
    _target("template-conversations", "Chat template: renders them all", template.renders, TEMPLATE, sound=False),
    _target("template-messages", "Chat template: loses nothing", template.keeps, TEMPLATE, sound=False),
    _target("template-text", "Chat template: adds nothing", template.adds, TEMPLATE, sound=False),
    _target("template-origin", "Chat template: Google's", template.as_published, TEMPLATE, sound=False),
    PairCheck("qat", "QAT on both sides or neither", provenance.qat, PARTS),
    PairCheck("fine-tune", "Target is an original release", provenance.fine_tune, TARGET_KEYS),
)

#: What is about keys and values that an assistant reads from its target, about its ropes, or about centroid heads.
MTP_ALONE = frozenset(
    {
        *("dialect", "mtp-layers", "own-width", "width", "donor-layers", "kv-heads", "head-size", "sliding-window"),
        *("rope-base", "rope-dimensions", "masked-embeddings", "rope-factors", "centroids", "token-ordering"),
        *("quantizer", "qat", "fine-tune"),
    }
)


def _after_dialect(check: Check) -> Check:
    """A fork's file has neither tokenizer nor all keys: what is said of it is that it is a fork's."""
    return replace(check, needs=(*check.needs, "dialect")) if check.id == "assistant-keys" else check


DFLASH_CHECKS: tuple[Check, ...] = (
    *CHECKS[:2],
    _drafter("dialect", "Dialect that llama.cpp reads", dflash.dialect, PARTS),
    *(_after_dialect(check) for check in CHECKS[2:] if check.id not in MTP_ALONE),
    _drafter("block-size", "Block size", side(dflash.block_size), ASSISTANT_KEYS),
    _drafter("features", "Features = target layers x width", side(dflash.features), ASSISTANT_KEYS),
    _drafter("layer-order", "Target layers ascend", side(dflash.distinct_layers), ASSISTANT_KEYS),
    _drafter("mask-token", "Mask token", side(dflash.mask_token), ASSISTANT_KEYS),
    _drafter("embeddings", "Embeddings and head", side(dflash.own_embeddings), ASSISTANT_KEYS),
    _drafter("draft-tokens", "Tokens that it can draft", side(dflash.draft_tokens), ("assistant-shapes",)),
    PairCheck("width", "Hidden width", dflash.width, KEYS),
    PairCheck("target-layers", "Target layers are inside the target", dflash.target_layers, KEYS),
    PairCheck("window", "Sliding window", dflash.window, KEYS),
    PairCheck("embedding-scale", "Scale of borrowed embeddings", dflash.embedding_scale, (*KEYS, "width")),
)

DSPARK_CHECKS: tuple[Check, ...] = (
    *DFLASH_CHECKS,
    _drafter("confidence", "Confidence head", side(foreign.confidence), ASSISTANT_KEYS),
)

#: What is about blocks, and what an EAGLE3 head has in a way of its own.
DFLASH_ALONE = frozenset({"block-size", "mask-token", "width", "target-layers", "window", "embedding-scale"})

EAGLE3_CHECKS: tuple[Check, ...] = (
    *(check for check in DFLASH_CHECKS if check.id not in DFLASH_ALONE),
    PairCheck("width", "Hidden width", foreign.target_width, KEYS),
    PairCheck("borrowed", "Borrowed embeddings and head", foreign.borrowed, KEYS),
    PairCheck("target-layers", "Target layers are inside the target", foreign.layers_read, KEYS),
)

BY_FAMILY: dict[str, tuple[Check, ...]] = {
    FAMILY.name: CHECKS,
    DFLASH.name: DFLASH_CHECKS,
    DSPARK.name: DSPARK_CHECKS,
    EAGLE3.name: EAGLE3_CHECKS,
}
#: Those of a target's chat template alone.
TEMPLATE_CHECKS = tuple(check for check in of_file(Part.TARGET) if check.id in TEMPLATE or check.needs == TEMPLATE)
