"""When a known problem applies: questions about a pair and its host, and how they are joined."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from gemma_mtp.ggml import GGMLType
from gemma_mtp.hub.discovery import is_model
from gemma_mtp.model.family import FAMILY
from gemma_mtp.validate.host import Host, Version
from gemma_mtp.validate.pair import Pair

Applies = Callable[[Pair, Host], bool]


def version(since: Version | None, until: Version | None) -> Applies:
    """The runtime's version is known and in this range."""
    return lambda _, host: host.version is not None and bool(host.between(since, until))


def since(first: Version) -> Applies:
    """The runtime's version is this one or later, or was not said."""
    return lambda _, host: host.between(first, None) is not False


def option(name: str, *values: str) -> Applies:
    """A setting is given (with one of these values)."""
    return lambda _, host: name in host.settings and (not values or host.settings[name] in values)


def gpu(pattern: str) -> Applies:
    """The GPU's name is of this kind."""
    return lambda _, host: bool(re.search(pattern, host.gpu, re.IGNORECASE))


def not_at_all(condition: Applies) -> Applies:
    return lambda pair, host: not condition(pair, host)


def slots_above_one(_: Pair, host: Host) -> bool:
    return host.number("--parallel", 1) > 1


def both(*conditions: Applies) -> Applies:
    return lambda pair, host: all(condition(pair, host) for condition in conditions)


def either(*conditions: Applies) -> Applies:
    return lambda pair, host: any(condition(pair, host) for condition in conditions)


def two_queries_a_key(pair: Pair, _: Host) -> bool:
    """E4B's shape: two query heads over each key head, 512 long."""
    model = pair.assistant.hyper
    return model.head_dim_full == 512 and 2 * model.kv_heads(model.layers - 1) == model.heads


def one_key_head(pair: Pair, _: Host) -> bool:
    """12B's shape: full layers with one key head."""
    return pair.target.hyper.kv_heads_full == 1


def for_12b(pair: Pair, _: Host) -> bool:
    return FAMILY.sizes.get(pair.target.hyper.hidden) == "12B"


def other_end(pair: Pair, _: Host) -> bool:
    key = "tokenizer.ggml.eos_token_id"
    return pair.target.metadata.get(key) != pair.assistant.metadata.get(key)


def long_drafts(pair: Pair, host: Host) -> bool:
    most = 2 if FAMILY.sizes.get(pair.target.hyper.hidden) == "26B-A4B" else 4
    return host.number("--spec-draft-n-max", 0) > most


def quantized_cache(_: Pair, host: Host) -> bool:
    return any(host.settings.get(f"--cache-type-{side}", "f16") not in ("f16", "f32", "bf16") for side in "kv")


def in_bf16(pair: Pair, _: Host) -> bool:
    return any(tensor.type is GGMLType.BF16 for tensor in pair.assistant.tensors.values())


def taken_for_a_model(pair: Pair, _: Host) -> bool:
    """Whether llama.cpp's search in a repo or folder counts the assistant's file as a model."""
    return is_model(pair.assistant.place)


def drafter_is_named(_: Pair, host: Host) -> bool:
    return "--model-draft" in host.settings or "--hf-repo-draft" in host.settings


def is_hidden(pair: Pair, _: Host) -> bool:
    """Whether llama.cpp's search for drafters in a repo misses the assistant's file, by its name or its folder."""
    path = PurePosixPath(pair.assistant.place)
    return FAMILY.prefix not in path.name or path.parent.name.upper() == "MTP"


def plain_draft(_: Pair, host: Host) -> bool:
    return "--model-draft" in host.settings and "draft-mtp" not in host.settings.get("--spec-type", "").split(",")
