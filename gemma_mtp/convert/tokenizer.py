"""tokenizer.json and its companions -> the `tokenizer.*` keys of a Gemma 4 GGUF, as upstream's converter writes them.

No transformers: which tokens are special is read from the files themselves. The vocabulary has 262,144 tokens and
514,906 merges, so nothing here runs once a token but list comprehensions.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from gemma_mtp.errors import CheckpointError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.model.config import read_json

NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6

#: Special tokens that are part of what a model says, so that chat parsers must see them: not hidden as CONTROL.
VISIBLE = ("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>')

#: Kinds of special tokens -> their key in a GGUF.
SPECIAL_IDS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # the format's own spelling
    "pad": "padding_token_id",
    "mask": "mask_token_id",
}

#: BPE has no scores; upstream writes this for each token.
SCORE = -1000.0


@dataclass(frozen=True)
class _Files:
    """The parsed files that a tokenizer is spread over."""

    folder: Path
    tokenizer: dict[str, Any]
    tokenizer_config: dict[str, Any]
    config: dict[str, Any]


def tokenizer_metadata(folder: Path, vocabulary: int) -> dict[str, Value]:
    """The `tokenizer.*` keys for the checkpoint in `folder`, whose embedding has `vocabulary` rows.

    Raises CheckpointError: tokenizer.json missing, damaged, not a byte-fallback BPE, or of another size.
    """
    try:
        with _without_collecting():
            return _metadata(_read(folder), vocabulary)
    except UnicodeEncodeError as error:
        damage = error.object[error.start : error.end]
        raise CheckpointError(f"a text in it has {damage!r}, which is not Unicode", where=folder) from error


@contextmanager
def _without_collecting() -> Iterator[None]:
    """A million strings come into being here and none is garbage: looking through them again and again takes as long
    as reading them does."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _metadata(files: _Files, vocabulary: int) -> dict[str, Value]:
    folder, ids = files.folder, _ids(files)
    tokens = _tokens(files, ids)
    if len(tokens) != vocabulary:
        raise CheckpointError(
            f"the tokenizer has {len(tokens):,} tokens, the embedding {vocabulary:,} rows",
            where=folder / "tokenizer.json",
            hint="use the tokenizer.json that belongs to this checkpoint",
        )
    return {
        "tokenizer.ggml.model": gv.string("gemma4"),
        "tokenizer.ggml.tokens": gv.strings(tokens),
        "tokenizer.ggml.scores": gv.array(ValueType.FLOAT32, np.full(len(tokens), SCORE, "<f4")),
        "tokenizer.ggml.token_type": gv.array(ValueType.INT32, _token_types(files, ids)),
        "tokenizer.ggml.merges": gv.strings(_merges(files)),
        **_special_ids(files),
        **_added_tokens_flags(files),
        **_chat_template(files),
        **_suppressed(folder),
        "tokenizer.ggml.add_space_prefix": gv.boolean(False),
        "tokenizer.ggml.add_bos_token": gv.boolean(True),
    }


def _read(folder: Path) -> _Files:
    path = folder / "tokenizer.json"
    tokenizer = read_json(path, orjson.loads)  # 33 MB, which it reads in half the time
    model = tokenizer.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not model.get("byte_fallback"):
        raise CheckpointError("not a byte-fallback BPE, which Gemma 4's tokenizer is", where=path)
    if not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
        raise CheckpointError("the vocabulary or the merges are missing", where=path)
    config_path = folder / "tokenizer_config.json"
    config = read_json(config_path) if config_path.exists() else {}
    return _Files(folder, tokenizer, config, read_json(folder / "config.json"))


def _ids(files: _Files) -> dict[str, int]:
    """The ids of the model's vocabulary, and of added tokens that are not in it."""
    vocab: dict[str, int] = files.tokenizer["model"]["vocab"]
    return vocab | {token["content"]: token["id"] for token in _added_tokens(files)}


def _tokens(files: _Files, ids: dict[str, int]) -> list[str]:
    """The tokens by id."""
    tokens: list[str | None] = [None] * len(ids)
    try:
        for token, number in ids.items():
            tokens[number] = token
    except (IndexError, TypeError):
        raise CheckpointError(f"token {token!r} has the id {number!r}", where=files.folder / "tokenizer.json") from None
    if None in tokens:
        raise CheckpointError(f"no token has the id {tokens.index(None)}", where=files.folder / "tokenizer.json")
    return tokens  # type: ignore[return-value]


def _added_tokens(files: _Files) -> list[dict[str, Any]]:
    added = files.tokenizer.get("added_tokens") or []
    if all(isinstance(token, dict) and {"content", "id"} <= token.keys() for token in added):
        return list(added)
    raise CheckpointError("added_tokens is damaged", where=files.folder / "tokenizer.json")


def _token_types(files: _Files, ids: dict[str, int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Later rows win: added, special, visible, bytes."""
    vocab = files.tokenizer["model"]["vocab"]
    byte_tokens = [f"<0x{value:{style}}>" for value in range(256) for style in ("02X", "02x")]
    types = np.full(len(ids), NORMAL, np.int32)
    for kind, members in (
        (USER_DEFINED, [token["content"] for token in _added_tokens(files) if token["content"] not in vocab]),
        (CONTROL, _special_tokens(files)),
        (USER_DEFINED, VISIBLE),
        (BYTE, byte_tokens),
    ):
        types[[ids[token] for token in members if token in ids]] = kind
    return types


def _special_tokens(files: _Files) -> Iterator[str]:
    """What transformers calls special: every `..._token` of the tokenizer's config, and its extra lists or tables.

    Google's files have a list under extra_special_tokens where some library versions want a table: both are read.
    """
    yield from ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    for key, value in files.tokenizer_config.items():
        if key.endswith("_token"):
            yield from _texts([value])
        elif key in ("extra_special_tokens", "additional_special_tokens", "model_specific_special_tokens"):
            yield from _texts(value.values() if isinstance(value, Mapping) else value or [])


def _texts(entries: Any) -> Iterator[str]:
    """Tokens are given as text or as `{"content": text, ...}`."""
    for entry in entries:
        text = entry.get("content") if isinstance(entry, Mapping) else entry
        if isinstance(text, str):
            yield text


def _merges(files: _Files) -> list[str]:
    """Pairs joined by a space; the older form has them joined already."""
    merges = files.tokenizer["model"]["merges"]
    kinds = set(map(type, merges))
    try:
        if kinds <= {str}:
            return list(merges)
        if kinds == {list} and set(map(len, merges)) == {2}:
            return list(map(" ".join, merges))
    except TypeError:
        pass  # a pair of something else than texts
    raise CheckpointError("the merges are damaged", where=files.folder / "tokenizer.json")


def _special_ids(files: _Files) -> dict[str, Value]:
    """First as the tokenizer's config names the tokens, then as the model's config numbers them."""
    numbers = {token["content"]: token["id"] for token in _added_tokens(files)}
    nested = files.config.get("text_config") or {}
    found: dict[str, Value] = {}
    for kind, key in SPECIAL_IDS.items():
        named = [numbers[text] for text in _texts([files.tokenizer_config.get(f"{kind}_token")]) if text in numbers]
        numbered = [table.get(f"{kind}_token_id") for table in (files.config, nested)]
        ids = [number for number in named + numbered if isinstance(number, int)]
        if ids:
            found[f"tokenizer.ggml.{key}"] = gv.u32(ids[0])
    return found


def _added_tokens_flags(files: _Files) -> dict[str, Value]:
    flags = {kind: files.tokenizer_config.get(f"add_{kind}_token") for kind in ("eos", "sep")}
    return {f"tokenizer.ggml.add_{kind}_token": gv.boolean(flag) for kind, flag in flags.items() if flag is not None}


def _chat_template(files: _Files) -> dict[str, Value]:
    """From the tokenizer's config, or else from the file beside it."""
    template = files.tokenizer_config.get("chat_template")
    beside = files.folder / "chat_template.jinja"
    if template is None and beside.exists():
        template = beside.read_text(encoding="utf-8")
    return {"tokenizer.chat_template": gv.string(template)} if isinstance(template, str) else {}


def _suppressed(folder: Path) -> dict[str, Value]:
    """Tokens that a unified model must never say."""
    path = folder / "generation_config.json"
    ids = (read_json(path) if path.exists() else {}).get("suppress_tokens")
    return {"tokenizer.ggml.suppress_tokens": gv.array(ValueType.INT32, ids)} if ids else {}
