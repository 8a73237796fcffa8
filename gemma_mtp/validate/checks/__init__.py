"""The checks, as a table. Each is a function from a pair to a finding; the order is that of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gemma_mtp.model.part import Part
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.checks import (
    attachment,
    content,
    header,
    hosts,
    identity,
    provenance,
    rope,
    tensors,
    vocabulary,
    weights,
)
from gemma_mtp.validate.findings import Finding
from gemma_mtp.validate.pair import Pair


@dataclass(frozen=True)
class Check:
    """One check.

    needs: the checks without whose success this one cannot be made or would only repeat their finding.
    part: the one whose file alone it judges; None: it needs both, or says nothing of whether the file is sound.
    """

    id: str
    title: str
    run: Callable[[Pair], Finding]
    needs: tuple[str, ...] = ()
    part: Part | None = None

    @property
    def description(self) -> str:
        return " ".join((self.run.__doc__ or "").split())


def of_target(check: Callable[[OpenModel], Finding]) -> Callable[[Pair], Finding]:
    """A check of one file, made of the target."""

    def run(pair: Pair) -> Finding:
        return check(pair.target)

    run.__doc__ = check.__doc__
    return run


def of_assistant(check: Callable[[OpenModel], Finding]) -> Callable[[Pair], Finding]:
    """A check of one file, made of the assistant."""

    def run(pair: Pair) -> Finding:
        return check(pair.assistant)

    run.__doc__ = check.__doc__
    return run


def of_file(part: Part, *without: str) -> tuple[Check, ...]:
    """The checks that a target or assistant can be put to alone, each with those of its needs that are among them."""
    chosen = {check.id: check for check in CHECKS if check.part == part and check.id not in without}
    return tuple(
        replace(check, needs=tuple(need for need in check.needs if need in chosen)) for check in chosen.values()
    )


PARTS = ("files", "parts")
TARGET_KEYS = (*PARTS, "target-keys")
ASSISTANT_KEYS = (*PARTS, "assistant-keys")
KEYS = (*PARTS, "target-keys", "assistant-keys")
COMMON = (*KEYS, "target-tokenizer", "assistant-tokenizer")

CHECKS: tuple[Check, ...] = (
    Check("files", "Two different files", identity.two_files),
    Check("parts", "A target and an assistant", identity.parts, ("files",)),
    Check("dialect", "Dialect that the runtime reads", hosts.dialect, PARTS),
    Check("target-keys", "Target: header keys", of_target(header.model_keys), PARTS, Part.TARGET),
    Check("assistant-keys", "Assistant: header keys", of_assistant(header.model_keys), PARTS, Part.ASSISTANT),
    Check("target-tokenizer", "Target: other keys", of_target(header.common_keys), TARGET_KEYS, Part.TARGET),
    Check(
        "assistant-tokenizer", "Assistant: other keys", of_assistant(header.common_keys), ASSISTANT_KEYS, Part.ASSISTANT
    ),
    Check("mtp-layers", "Assistant: all layers are MTP layers", header.mtp_layers, ASSISTANT_KEYS, Part.ASSISTANT),
    Check("own-width", "Assistant: names a target width", header.own_width, ASSISTANT_KEYS, Part.ASSISTANT),
    Check("width", "Hidden width", attachment.width, KEYS),
    Check("donor-layers", "Donor layers", attachment.donor_layers, TARGET_KEYS),
    Check("kv-heads", "KV heads (sliding / full)", attachment.kv_heads, KEYS),
    Check("head-size", "Head size (sliding / full)", attachment.head_size, KEYS),
    Check("query-heads", "Query heads over KV heads", attachment.query_heads, KEYS),
    Check("sliding-window", "Sliding window", attachment.sliding_window, KEYS),
    Check("rope-base", "Rope base (sliding / full)", rope.rope_bases, KEYS),
    Check("rope-dimensions", "Rotated dimensions (sliding / full)", rope.rope_dimensions, (*KEYS, "head-size")),
    Check("tokenizer", "Tokenizer", vocabulary.tokenizer_model, COMMON),
    Check("vocabulary-size", "Vocabulary size", vocabulary.size, KEYS),
    Check("tokens", "Tokens", vocabulary.tokens, (*COMMON, "vocabulary-size")),
    Check("token-types", "Token types", vocabulary.token_types, (*COMMON, "vocabulary-size")),
    Check("merges", "Merges", vocabulary.merges, COMMON),
    Check("special-tokens", "Special tokens", vocabulary.special_tokens, COMMON),
    Check("target-layout", "Target: order of the data", of_target(tensors.layout), PARTS, Part.TARGET),
    Check("target-tensors", "Target: tensors are complete", of_target(tensors.present), TARGET_KEYS, Part.TARGET),
    Check("target-layer-scales", "Target: layer scales", of_target(tensors.layer_scales), TARGET_KEYS, Part.TARGET),
    Check("target-shapes", "Target: shapes", of_target(tensors.shapes), TARGET_KEYS, Part.TARGET),
    Check("target-types", "Target: tensor types", tensors.target_types, TARGET_KEYS, Part.TARGET),
    Check("target-extra", "Target: no unknown tensors", of_target(tensors.unexpected), TARGET_KEYS, Part.TARGET),
    Check("assistant-layout", "Assistant: order of the data", of_assistant(tensors.layout), PARTS, Part.ASSISTANT),
    Check(
        "assistant-tensors",
        "Assistant: tensors are complete",
        of_assistant(tensors.present),
        ASSISTANT_KEYS,
        Part.ASSISTANT,
    ),
    Check("assistant-shapes", "Assistant: shapes", of_assistant(tensors.shapes), ASSISTANT_KEYS, Part.ASSISTANT),
    Check("assistant-types", "Assistant: tensor types", tensors.assistant_types, ASSISTANT_KEYS, Part.ASSISTANT),
    Check(
        "assistant-extra",
        "Assistant: no unknown tensors",
        of_assistant(tensors.unexpected),
        ASSISTANT_KEYS,
        Part.ASSISTANT,
    ),
    Check("masked-embeddings", "Assistant: no masked_embd tensors", tensors.masked_embeddings, PARTS, Part.ASSISTANT),
    Check("rope-factors", "Rope factors of full layers", rope.rope_factors, (*KEYS, "head-size")),
    Check("centroids", "Assistant: centroid head in metadata", weights.centroids, ASSISTANT_KEYS, Part.ASSISTANT),
    Check("token-ordering", "Assistant: token ordering", weights.token_ordering, ASSISTANT_KEYS, Part.ASSISTANT),
    Check("target-finite", "Target: weights are finite", weights.target_finite, PARTS, Part.TARGET),
    Check("assistant-finite", "Assistant: weights are finite", weights.assistant_finite, PARTS, Part.ASSISTANT),
    Check("target-zeros", "Target: no weights of zeros", weights.target_zeros, TARGET_KEYS, Part.TARGET),
    Check("assistant-zeros", "Assistant: no weights of zeros", weights.assistant_zeros, ASSISTANT_KEYS, Part.ASSISTANT),
    Check("target-content", "Target: as published", content.target_content, ("files",)),
    Check("assistant-content", "Assistant: as published", content.assistant_content, ("files",)),
    Check("quantizer", "Assistant: a mix of today", provenance.old_mix, ASSISTANT_KEYS),
    Check("qat", "QAT on both sides or neither", provenance.qat, PARTS),
    Check("fine-tune", "Target is an original release", provenance.fine_tune, TARGET_KEYS),
)
