"""How mainline's llama-server is told what was measured or planned here: its command line."""

from __future__ import annotations

import shlex
from pathlib import Path

from gemma_mtp.native.placement import server_words
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings


def llama_server(
    target: Path, drafter: Path | None, drafting: Drafting, context: ContextSettings, model: ModelSettings
) -> str:
    """The command line for mainline llama.cpp (common/arg.cpp) with the settings that were measured."""
    words = ["llama-server", "-m", str(target), *drafting_words(drafter, drafting)]
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


def drafting_words(drafter: Path | None, drafting: Drafting) -> list[str]:
    """Who drafts and how long, as options; none for plain decoding. `--spec-type` is needed: its default is none."""
    if not drafting.uses:
        return []
    words = ["-md", str(drafter)] if drafting.longest else []
    words += ["--spec-type", ",".join(use.method.spec_type for use in drafting.uses)]
    for use in drafting.uses:
        for size in use.method.sizes:
            words += [size.flag, str(size.of(use))]
    return words + (["--spec-draft-p-min", f"{drafting.p_min:g}"] if drafting.p_min else [])
