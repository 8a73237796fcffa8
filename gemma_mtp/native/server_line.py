"""How mainline's llama-server is told what was measured or planned here: its command line."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

from gemma_mtp.native.cpp import Listening, Loading
from gemma_mtp.native.placement import server_words
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings


def llama_server(
    target: Path, drafter: Path | None, drafting: Drafting, context: ContextSettings, model: ModelSettings
) -> str:
    """The command line for mainline llama.cpp (common/arg.cpp) with the settings that were measured."""
    words = ["llama-server", "-m", str(target), *drafting_words(drafter, drafting)]
    return shlex.join([*words, *_settings(context, model, 1)])


def _settings(context: ContextSettings, model: ModelSettings, places: int) -> list[str]:
    """What goes where, and how large. places: requests at once, each with that context."""
    words = ["-c", str(context.size * places), "-np", str(places)]
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
    return words if model.extra_buffers else [*words, "--no-repack"]


def serving(
    loading: Loading, listening: Listening, known: str, *, keys: Path | None, template: Path | None
) -> list[str]:
    """All that a llama-server is told to be what `cpp.start_server` starts. known: its `--help`.

    keys, template: files with API keys and with the chat template, where there are any.
    """
    words = ["-m", str(loading.target), "--host", listening.host, "--port", str(listening.port)]
    drafting = loading.drafting if loading.drafter else replace(loading.drafting, longest=0)
    words += drafting_words(loading.drafter, drafting)
    if loading.drafter is not None:
        words += ["--spec-draft-n-min", str(loading.drafting.shortest)]
        words += [] if loading.drafting.p_min else ["--spec-draft-p-min", "0"]  # builds of spring 2026 take 0.75
    words += _settings(loading.context, loading.model, loading.parallel)
    words += ["--no-warmup", "--fit", "off", "--cache-ram", str(loading.idle_cache)]
    if "--reasoning " in known:
        words += ["--reasoning", "on" if listening.thinking else "off"]
    else:  # a word that came in spring 2026; what stood in its place is said to be deprecated
        words += ["--chat-template-kwargs", json.dumps({"enable_thinking": listening.thinking})]
    for option, value in {
        "--mmproj": loading.mmproj,
        "--alias": listening.model_name,
        "--api-key-file": keys,
        "--chat-template-file": template,
        "--threads-http": listening.threads,
        "--cors-origins": None if keys or "--cors-origins" not in known else "localhost",
    }.items():
        words += [] if value is None else [option, str(value)]
    return [*words, "--metrics"] if listening.metrics else words


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
