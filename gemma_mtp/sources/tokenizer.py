"""tokenizer.json and its companions -> the `tokenizer.*` keys of a Gemma 4 GGUF, as upstream's converter writes them.

No transformers: which tokens are special is read from the files themselves. The vocabulary has 262,144 tokens and
514,906 merges, so nothing here runs once a token but list comprehensions.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from gemma_mtp.errors import CheckpointError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.text import shown
from gemma_mtp.model.config import read_json
from gemma_mtp.model.family import FAMILY
from gemma_mtp.sources.card import GENERATION, Note, read_generation_config
from gemma_mtp.sources.templates import chat_templates

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
    special_tokens: dict[str, Any]
    config: dict[str, Any]
    note: Note


def tokenizer_metadata(folder: Path, vocabulary: int, note: Note = lambda _: None) -> dict[str, Value]:
    """The `tokenizer.*` keys for the checkpoint in `folder`, whose embedding has `vocabulary` rows.

    note: is told what was skipped. Raises CheckpointError: tokenizer.json missing, damaged, not a byte-fallback BPE, or
    of another size; a file beside it that is no text or JSON.
    """
    try:
        with _without_collecting():
            return _metadata(_read(folder, note), vocabulary)
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
        "tokenizer.ggml.model": gv.string(FAMILY.tokenizer),
        "tokenizer.ggml.tokens": gv.strings(tokens),
        "tokenizer.ggml.scores": gv.array(ValueType.FLOAT32, np.full(len(tokens), SCORE, "<f4")),
        "tokenizer.ggml.token_type": gv.array(ValueType.INT32, _token_types(files, ids)),
        "tokenizer.ggml.merges": gv.strings(_merges(files)),
        **_special_ids(files, vocabulary),
        **_added_tokens_flags(files),
        **chat_templates(folder, files.tokenizer_config, files.note),
        **_suppressed(files, vocabulary),
        "tokenizer.ggml.add_space_prefix": gv.boolean(False),
        "tokenizer.ggml.add_bos_token": gv.boolean(True),
    }


def _read(folder: Path, note: Note) -> _Files:
    path = folder / "tokenizer.json"
    tokenizer = read_json(path, orjson.loads)  # 33 MB, which it reads in half the time
    model = tokenizer.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not model.get("byte_fallback"):
        raise CheckpointError("not a byte-fallback BPE, which Gemma 4's tokenizer is", where=path)
    if not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
        raise CheckpointError("the vocabulary or the merges are missing", where=path)
    config, special = (_companion(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json"))
    # As transformers: the older file counts where the newer one does not describe its tokens.
    special = {**config, **special} if "added_tokens_decoder" not in config else config
    return _Files(folder, tokenizer, config, special, read_json(folder / "config.json"), note)


def _companion(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() or path.is_symlink() else {}


def _ids(files: _Files) -> dict[str, int]:
    """The ids of the model's vocabulary, and of added tokens that are not in it."""
    vocab: dict[str, int] = files.tokenizer["model"]["vocab"]
    return vocab | {token["content"]: token["id"] for token in _added_tokens(files)}


def _tokens(files: _Files, ids: dict[str, int]) -> list[str]:
    """The tokens by id."""
    odd = next((pair for pair in ids.items() if type(pair[1]) is not int or pair[1] < 0), None)
    if odd is not None:
        where = files.folder / "tokenizer.json"
        raise CheckpointError(f"token {shown(odd[0])} has the id {shown(odd[1])}", where=where)
    tokens: list[str | None] = [None] * len(ids)
    try:
        for token, number in ids.items():
            tokens[number] = token
    except IndexError:
        raise CheckpointError(
            f"token {shown(token)} has the id {number}", where=files.folder / "tokenizer.json"
        ) from None
    if None in tokens:
        raise CheckpointError(f"no token has the id {tokens.index(None)}", where=files.folder / "tokenizer.json")
    return tokens  # type: ignore[return-value]


def _added_tokens(files: _Files) -> list[dict[str, Any]]:
    added = files.tokenizer.get("added_tokens") or []
    if isinstance(added, list) and all(
        isinstance(token, dict) and isinstance(token.get("content"), str) and "id" in token for token in added
    ):
        return added
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
    for key, value in files.special_tokens.items():
        if key.endswith("_token"):
            yield from _texts([value])
        elif key in ("extra_special_tokens", "additional_special_tokens", "model_specific_special_tokens"):
            yield from _texts(value.values() if isinstance(value, Mapping) else value)


def _texts(entries: Any) -> Iterator[str]:
    """Tokens are given as text or as `{"content": text, ...}`, several of them in a list."""
    for entry in entries if isinstance(entries, Iterable) and not isinstance(entries, str) else ():
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


def _special_ids(files: _Files, vocabulary: int) -> dict[str, Value]:
    """First as the tokenizer's config names the tokens, then as the model's config numbers them.

    A list (several end tokens) is no number: upstream does not write it either. -1 stands for none.
    """
    numbers = {token["content"]: token["id"] for token in _added_tokens(files)}
    nested = files.config.get("text_config")
    tables = [table for table in (files.config, nested) if isinstance(table, Mapping)]
    found: dict[str, Value] = {}
    for kind, key in SPECIAL_IDS.items():
        named = [numbers[text] for text in _texts([files.tokenizer_config.get(f"{kind}_token")]) if text in numbers]
        numbered = [table.get(f"{kind}_token_id") for table in tables]
        odd = [number for number in numbered if not isinstance(number, list) and not _is_id(number, vocabulary)]
        for number in odd:
            if number is not None:
                files.note(
                    f"config.json: {kind}_token_id is {shown(number)}, no token of the vocabulary, and was skipped"
                )
        ids = [number for number in named + numbered if _is_id(number, vocabulary)]
        if ids:
            found[f"tokenizer.ggml.{key}"] = gv.u32(ids[0])
    return found


def _is_id(number: Any, vocabulary: int) -> bool:
    return type(number) is int and 0 <= number < vocabulary


def _added_tokens_flags(files: _Files) -> dict[str, Value]:
    flags = {kind: files.tokenizer_config.get(f"add_{kind}_token") for kind in ("eos", "sep")}
    for kind, flag in flags.items():
        if flag is not None and not isinstance(flag, bool):
            files.note(f"tokenizer_config.json: add_{kind}_token is {shown(flag)}, not true or false, and was skipped")
    known = {kind: flag for kind, flag in flags.items() if isinstance(flag, bool)}
    return {f"tokenizer.ggml.add_{kind}_token": gv.boolean(flag) for kind, flag in known.items()}


def _suppressed(files: _Files, vocabulary: int) -> dict[str, Value]:
    """Tokens that a unified model must never say."""
    given = read_generation_config(files.folder).get("suppress_tokens") or []
    ids = [number for number in given if _is_id(number, vocabulary)] if isinstance(given, list) else []
    if ids != given:
        files.note(f"{GENERATION}: suppress_tokens is {shown(given)}; what of it is no token was skipped")
    return {"tokenizer.ggml.suppress_tokens": gv.array(ValueType.INT32, ids)} if ids else {}
