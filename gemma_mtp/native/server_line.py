"""How mainline's llama-server is told what was measured or planned here: its command line."""

from __future__ import annotations

import shlex
from pathlib import Path

from gemma_mtp.model.family import FAMILY
from gemma_mtp.native.placement import server_words
from gemma_mtp.native.settings import ContextSettings, ModelSettings


def llama_server(
    target: Path, assistant: Path, draft: int, context: ContextSettings, model: ModelSettings, p_min: float = 0.0
) -> str:
    """The command line for mainline llama.cpp (common/arg.cpp) with the settings that were measured."""
    words = ["llama-server", "-m", str(target)]
    if draft:
        words += ["-md", str(assistant), "--spec-type", FAMILY.spec_type, "--spec-draft-n-max", str(draft)]
    if p_min:
        words += ["--spec-draft-p-min", f"{p_min:g}"]
    words += ["-c", str(context.size), "-np", "1"]
    if context.threads:
        words += ["-t", str(context.threads)]
    if model.gpu_layers >= 0:
        words += ["-ngl", str(model.gpu_layers)]
    if (context.cache_k, context.cache_v) != ("f16", "f16"):
        words += ["-ctk", context.cache_k, "-ctv", context.cache_v]
    if context.flash_attention != "auto":
        words += ["-fa", context.flash_attention]
    if context.batch != ContextSettings.batch:
        words += ["-b", str(context.batch)]
        words += [] if context.ubatch else ["-ub", str(context.batch)]
    words += server_words(model, context)
    if not model.extra_buffers:
        words += ["--no-repack"]
    return shlex.join(words)
