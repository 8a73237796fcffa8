"""The runtime: MTP drafting on llama.cpp's low-level API, for reading, for trusting and for measuring.

    from gemma_mtp.mtp_runtime import MtpEngine

    with MtpEngine("target.gguf", "assistant.gguf") as engine:
        for token in engine.generate("def main():", max_tokens=100, draft_max=3):
            print(token.text, end="")

The names below are loaded when they are first used: the modules that need no llama.cpp do not pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemma_mtp.mtp_runtime.engine import Generation, MtpEngine
    from gemma_mtp.mtp_runtime.generate import Round
    from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings, Sampling
    from gemma_mtp.native.stats import Statistics

__all__ = ["ContextSettings", "Drafting", "Generation", "ModelSettings", "MtpEngine", "Round", "Sampling", "Statistics"]

_HOMES = {
    "Generation": "mtp_runtime.engine",
    "MtpEngine": "mtp_runtime.engine",
    "ContextSettings": "native.settings",
    "Drafting": "native.settings",
    "ModelSettings": "native.settings",
    "Round": "mtp_runtime.generate",
    "Sampling": "native.settings",
    "Statistics": "native.stats",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gemma_mtp.{_HOMES[name]}"), name)
