"""Whether two files can be run as a pair at all: the cases in which llama.cpp would abort the process or read foreign
memory instead of refusing. Headers only. Everything else that can be wrong with a pair is `gemma-mtp verify`'s job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.advice import into_mainline, ours
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.model.dialects import MAINLINE, TARGET_ARCHITECTURE, dialect_of


@dataclass(frozen=True)
class Header:
    """What of a GGUF file's header decides whether it fits."""

    path: Path
    architecture: str
    vocabulary: int
    values: dict[str, Any]  # keys without the architecture's prefix

    def number(self, key: str) -> int:
        """Raises BadFileError if the key is missing or no number."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadFileError(f"{self.architecture}.{key} is {value!r}, a number is needed", where=self.path)
        return value

    def of_layer(self, key: str, layer: int) -> int:
        """A per-layer value, which is written as one number if all layers share it. Raises BadFileError."""
        value = self.values.get(key)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
            return self.number(key)
        if not 0 <= layer < len(value):
            raise BadFileError(
                f"{self.architecture}.{key} has {len(value)} entries, none for layer {layer}", where=self.path
            )
        return int(value[layer])

    def flags(self, key: str) -> list[bool]:
        """A yes or no for each layer. Raises BadFileError if the key is missing, or not one for each."""
        value, layers = self.values.get(key), self.number("block_count")
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biu" or len(value) != layers:
            raise BadFileError(f"{self.architecture}.{key} has not one entry for each layer", where=self.path)
        return [bool(flag) for flag in value]


def read_header(path: str | Path) -> Header:
    """Raises GGUFError (no GGUF file), BadFileError (no architecture or vocabulary in it)."""
    with GGUFFile(path) as file:
        metadata = file.metadata
        if "general.architecture" not in metadata or "tokenizer.ggml.tokens" not in metadata:
            raise BadFileError("this GGUF file holds no language model: no architecture or no vocabulary", where=path)
        architecture = metadata["general.architecture"].text()
        if architecture is None:
            raise BadFileError("general.architecture is no text", where=path)
        prefix = architecture + "."
        values = {key.removeprefix(prefix): value.decode() for key, value in metadata.items() if key.startswith(prefix)}
        return Header(Path(path), architecture, metadata["tokenizer.ggml.tokens"].count, values)


def check_target(target: Header) -> None:
    """Raises BadFileError unless this is a Gemma 4 target."""
    if target.architecture == TARGET_ARCHITECTURE:
        return
    if dialect_of(target.architecture):
        raise BadFileError(
            f"this is an assistant ({target.architecture}), where the target is expected",
            where=target.path,
            hint="name the target first, then the assistant",
        )
    raise BadFileError(
        f"its architecture is {target.architecture}; MTP assistants exist for {TARGET_ARCHITECTURE} targets",
        where=target.path,
    )


def check_pair(target: Header, assistant: Header) -> None:
    """Raises BadFileError for a pair on which llama.cpp would abort, or draft from keys and values of another shape."""
    check_target(target)
    _check_dialect(assistant)
    faults = [
        f"{what} is {found:,} in the assistant, {wanted:,} in the target"
        for what, found, wanted in _comparisons(target, assistant)
        if found != wanted
    ]
    if faults:
        raise BadFileError(
            "this assistant belongs to another target: " + "; ".join(faults),
            where=assistant.path,
            hint=f"{ours('verify', target.path, assistant.path)} compares all of it",
        )


def _check_dialect(assistant: Header) -> None:
    dialect = dialect_of(assistant.architecture)
    if dialect is MAINLINE:
        return
    if dialect is None:
        raise BadFileError(
            f"its architecture is {assistant.architecture}; an assistant's is {MAINLINE.architecture}",
            where=assistant.path,
        )
    raise BadFileError(
        f"this assistant is in the dialect {dialect.name}, which is for {dialect.runtimes}",
        where=assistant.path,
        hint=into_mainline(assistant.path),
    )


def _comparisons(target: Header, assistant: Header) -> Iterator[tuple[str, int, int]]:
    """(what, in the assistant, in the target). llama.cpp gives target layer n-2 to the sliding layers, n-1 to the full
    one (llama-model.cpp, `share`)."""
    layers = target.number("block_count")
    pattern = assistant.flags("attention.sliding_window_pattern")
    yield "backbone width", assistant.number("embedding_length_out"), target.number("embedding_length")
    yield "vocabulary", assistant.vocabulary, target.vocabulary
    for sliding, suffix, donor, kind in ((True, "_swa", layers - 2, "sliding"), (False, "", layers - 1, "full")):
        if sliding not in pattern:
            continue
        layer = pattern.index(sliding)
        heads = "attention.head_count_kv"
        yield f"KV heads ({kind})", assistant.of_layer(heads, layer), target.of_layer(heads, donor)
        for key in ("attention.key_length", "attention.value_length"):
            yield f"{key}{suffix}", assistant.number(key + suffix), target.number(key + suffix)
