"""The keys that llama.cpp reads from a file."""

from __future__ import annotations

from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.gguf_keys import spelled
from gemma_mtp.model.keys import COMMON_KEYS, MODEL_KEYS, Key
from gemma_mtp.sources.model import TARGET_DIALECT

DIALECTS = {"target": TARGET_DIALECT, "assistant": MAINLINE}
#: Where `verify` refuses what loads -> why.
STRICTER = {
    "attention.causal": "another function",
    "attention.head_count_kv": "a BOOL is no count, and 0 heads have no keys",
    "attention.layer_norm_rms_epsilon": "NaN and -1",
    "attention.value_length": "an assistant reads its target's values: the lengths must agree",
    "embedding_length_per_layer_input": "an assistant has none; a count below 0 loads, and means nothing",
    "mtp.centroid_count": "a key of ours, which llama.cpp skips",
    "mtp.centroid_top_k": "a key of ours, which llama.cpp skips",
    "attention.shared_kv_layers": "an assistant has no keys of its own",
    "attention.sliding_window": "a window of 0 tokens, or of thousands of millions, is none",
    "attention.sliding_window_pattern": "the layers that it leaves out would count as full ones",
    "classifier.pooling_type": "a number above 2^31 is none",
    "context_length": "a length of 0 is none",
    "embedding_length_out": "a number above 2^31 is none",
    "expert_feed_forward_length": "a BOOL is no width",
    "expert_group_used_count": "a number above 2^31 is none",
    "final_logit_softcapping": "NaN",
    "pooling_type": "a number above 2^31 is none",
    "rope.freq_base": "10,000, which llama.cpp assumes, is wrong for every Gemma 4; NaN",
    "rope.freq_base_swa": "NaN",
    "rope.dimension_count": "more dimensions than a head has, which aborts at the first draft",
    "rope.dimension_count_swa": "more dimensions than a head has, which aborts at the first draft",
    "rope.scale_linear": "NaN",
    "rope.scaling.alpha": "NaN",
    "rope.scaling.attn_factor": "NaN",
    "rope.scaling.factor": "NaN",
    "rope.scaling.original_context_length": "a number above 2^31 is none",
    "general.file_type": "a number above 2^31 is none",
    "tokenizer.chat_template": "a number is no template",
    "tokenizer.ggml.bos_token_id": "an assistant reads no text, so it loads without; its target would not read any",
    "tokenizer.ggml.token_type_count": "a number above 2^31 is none",
}


def keys_of(part: str) -> dict[str, Key]:
    """The keys that are read from a file of this part, by the names that they have there."""
    names = ((spelled(DIALECTS[part], key.name), key) for key in MODEL_KEYS if part in key.parts)
    return {name: key for name, key in (*names, *((key.name, key) for key in COMMON_KEYS)) if name}
