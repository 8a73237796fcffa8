"""The checks, as a table. Each is a function from a pair to a finding; the order is that of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
from gemma_mtp.validate.side import Side


@dataclass(frozen=True)
class Check:
    """One check.

    needs: the checks without whose success this one cannot be made or would only repeat their finding.
    """

    id: str
    title: str
    run: Callable[[Pair], Finding]
    needs: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        return " ".join((self.run.__doc__ or "").split())


def of_target(check: Callable[[Side], Finding]) -> Callable[[Pair], Finding]:
    """A check of one file, made of the target."""

    def run(pair: Pair) -> Finding:
        return check(pair.target)

    run.__doc__ = check.__doc__
    return run


def of_assistant(check: Callable[[Side], Finding]) -> Callable[[Pair], Finding]:
    """A check of one file, made of the assistant."""

    def run(pair: Pair) -> Finding:
        return check(pair.assistant)

    run.__doc__ = check.__doc__
    return run


PARTS = ("files", "parts")
TARGET_KEYS = (*PARTS, "target-keys")
ASSISTANT_KEYS = (*PARTS, "assistant-keys")
KEYS = (*PARTS, "target-keys", "assistant-keys")

CHECKS: tuple[Check, ...] = (
    Check("files", "Two different files", identity.two_files),
    Check("parts", "A target and an assistant", identity.parts, ("files",)),
    Check("dialect", "Dialect that the runtime reads", hosts.dialect, PARTS),
    Check("target-keys", "Target: header keys", header.target_keys, PARTS),
    Check("assistant-keys", "Assistant: header keys", header.assistant_keys, PARTS),
    Check("mtp-layers", "Assistant: all layers are MTP layers", header.mtp_layers, ASSISTANT_KEYS),
    Check("own-width", "Assistant: names a target width", header.own_width, ASSISTANT_KEYS),
    Check("width", "Hidden width", attachment.width, KEYS),
    Check("donor-layers", "Donor layers", attachment.donor_layers, TARGET_KEYS),
    Check("kv-heads", "KV heads (sliding / full)", attachment.kv_heads, KEYS),
    Check("head-size", "Head size (sliding / full)", attachment.head_size, KEYS),
    Check("query-heads", "Query heads over KV heads", attachment.query_heads, KEYS),
    Check("sliding-window", "Sliding window", attachment.sliding_window, KEYS),
    Check("rope-base", "Rope base (sliding / full)", rope.rope_bases, KEYS),
    Check("rope-dimensions", "Rotated dimensions (sliding / full)", rope.rope_dimensions, (*KEYS, "head-size")),
    Check("tokenizer", "Tokenizer", vocabulary.tokenizer_model, PARTS),
    Check("vocabulary-size", "Vocabulary size", vocabulary.size, KEYS),
    Check("tokens", "Tokens", vocabulary.tokens, (*KEYS, "vocabulary-size")),
    Check("token-types", "Token types", vocabulary.token_types, (*KEYS, "vocabulary-size")),
    Check("merges", "Merges", vocabulary.merges, PARTS),
    Check("special-tokens", "Special tokens", vocabulary.special_tokens, PARTS),
    Check("target-tensors", "Target: tensors are complete", of_target(tensors.present), TARGET_KEYS),
    Check("target-layer-scales", "Target: layer scales", tensors.layer_scales, TARGET_KEYS),
    Check("target-shapes", "Target: shapes", of_target(tensors.shapes), TARGET_KEYS),
    Check("target-types", "Target: tensor types", of_target(tensors.types), TARGET_KEYS),
    Check("target-extra", "Target: no unknown tensors", of_target(tensors.unexpected), TARGET_KEYS),
    Check("assistant-tensors", "Assistant: tensors are complete", of_assistant(tensors.present), ASSISTANT_KEYS),
    Check("assistant-shapes", "Assistant: shapes", of_assistant(tensors.shapes), ASSISTANT_KEYS),
    Check("assistant-types", "Assistant: tensor types", of_assistant(tensors.types), ASSISTANT_KEYS),
    Check("assistant-extra", "Assistant: no unknown tensors", of_assistant(tensors.unexpected), ASSISTANT_KEYS),
    Check("masked-embeddings", "Assistant: no masked_embd tensors", tensors.masked_embeddings, PARTS),
    Check("rope-factors", "Rope factors of full layers", rope.rope_factors, (*KEYS, "head-size")),
    Check("centroids", "Assistant: centroid head in metadata", weights.centroids, ASSISTANT_KEYS),
    Check("token-ordering", "Assistant: token ordering", weights.token_ordering, ASSISTANT_KEYS),
    Check("target-finite", "Target: weights are finite", weights.target_finite, PARTS),
    Check("assistant-finite", "Assistant: weights are finite", weights.assistant_finite, PARTS),
    Check("target-content", "Target: as published", content.target_content, ("files",)),
    Check("assistant-content", "Assistant: as published", content.assistant_content, ("files",)),
    Check("quantizer", "Assistant: a mix of today", provenance.old_mix, ASSISTANT_KEYS),
    Check("qat", "QAT on both sides or neither", provenance.qat, PARTS),
    Check("fine-tune", "Target is an original release", provenance.fine_tune, TARGET_KEYS),
)
