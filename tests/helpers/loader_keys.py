"""The keys that llama.cpp reads from a file."""

from __future__ import annotations

from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.gguf_keys import spelled
from gemma_mtp.model.keys import COMMON_KEYS, MODEL_KEYS, Key
from gemma_mtp.sources.model import TARGET_DIALECT

DIALECTS = {"target": TARGET_DIALECT, "assistant": MAINLINE}


def keys_of(part: str) -> dict[str, Key]:
    """The keys that are read from a file of this part, by the names that they have there."""
    names = ((spelled(DIALECTS[part], key.name), key) for key in MODEL_KEYS if part in key.parts)
    return {name: key for name, key in (*names, *((key.name, key) for key in COMMON_KEYS)) if name}
