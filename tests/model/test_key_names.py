"""The names in our table of keys are those of the gguf package, but for a few on either side."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from gguf.constants import Keys

from gemma_mtp.model.keys import COMMON_KEYS, MODEL_KEYS

#: Ours that the package has no name for: llama.cpp's loader reads them (llama-arch.cpp), and ours alone are the head's.
WITHOUT_A_NAME = {
    "classifier.pooling_type",
    "general.tensor_extra.name",
    "general.tensor_extra.prec_a4",
    "mtp.centroid_count",
    "mtp.centroid_top_k",
    "rope.scale_linear",
    "tokenizer.ggml.normalizer.lowercase",
    "tokenizer.ggml.normalizer.strip_accents",
    "tokenizer.ggml.suppress_tokens",
}
#: The package's tokenizer keys that are nothing to Gemma 4's loader: of other tokenizers, or of no loader at all.
NOT_READ = {
    "tokenizer.chat_template.{name}",
    "tokenizer.chat_templates",
    "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.huggingface.json",
    "tokenizer.rwkv.world",
}
OURS = {key.name for key in (*MODEL_KEYS, *COMMON_KEYS)}


def named(group: type) -> Iterator[str]:
    for name, value in vars(group).items():
        if isinstance(value, str) and not name.startswith("__"):
            yield value.replace("{arch}.", "")
        elif inspect.isclass(value):
            yield from named(value)


def test_every_name_is_the_packages():
    assert OURS - set(named(Keys)) == WITHOUT_A_NAME


def test_every_tokenizer_key_is_ours():
    assert {name for name in named(Keys) if name.startswith("tokenizer.")} - OURS == NOT_READ


def test_every_scaling_of_rope_is_ours_but_yarns():
    theirs = {name for name in named(Keys) if name.startswith("rope.scaling.")}
    assert {name for name in theirs - OURS if "yarn" not in name} == set()
