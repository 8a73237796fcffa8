"""The oracle: llama_model_quantize of the installed llama.cpp, called as llama-quantize calls it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from llama_cpp import llama_cpp as llama

from gemma_mtp.ggml import GGMLType
from gemma_mtp.native.llama import LOG

_log: list[str] = []
#: What it says of a tensor that it would convert; of one that it keeps it names no new type.
_PLANNED = re.compile(r"^\[ *\d+/ *\d+\] (\S+) .* type = +(\w+),.*?(?:\((\w+)\))?$", re.MULTILINE)


@llama.llama_log_callback
def _remember(_level: int, text: bytes, _data: int | None) -> None:
    _log.append(text.decode(errors="replace"))


class Planned(NamedTuple):
    """types: tensor -> the type that it would get. needs_importance: whether that takes an importance matrix."""

    types: dict[str, GGMLType]
    needs_importance: bool


class Refused(Exception):
    """llama_model_quantize returned an error; the text is its log."""


def llama_quantize(
    source: Path,
    output: Path,
    number: int,
    *,
    imatrix: Mapping[str, np.ndarray] | None = None,
    keys: Mapping[str, str | int] | None = None,
    tensor_types: Mapping[str, GGMLType] | None = None,
    allow_requantize: bool = False,
    pure: bool = False,
    threads: int = 2,
) -> Path:
    """Quantize to the file type `number`. keys: metadata to set. tensor_types: regular expression -> type.

    Raises Refused.
    """
    params = _parameters(number, imatrix, threads)
    params.allow_requantize, params.pure = allow_requantize, pure
    if keys:
        overrides = (llama.llama_model_kv_override * (len(keys) + 1))()
        for override, (key, value) in zip(overrides, keys.items(), strict=False):
            override.key = key.encode()
            if isinstance(value, str):
                override.tag, override.value.val_str = llama.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()[:127]
            else:
                override.tag, override.value.val_i64 = llama.LLAMA_KV_OVERRIDE_TYPE_INT, value
        params.kv_overrides = overrides
    if tensor_types:
        patterns = (llama.llama_model_tensor_override * (len(tensor_types) + 1))()
        for pattern, (text, kind) in zip(patterns, tensor_types.items(), strict=False):
            pattern.pattern, pattern.type = text.encode(), kind
        params.tt_overrides = patterns
    _call(source, output, params)
    return output


def planned_types(source: Path, number: int, imatrix: Mapping[str, np.ndarray] | None = None) -> Planned:
    """What a dry run says of a file of this type. Raises Refused."""
    params = _parameters(number, imatrix, 1)
    params.dry_run = True
    _call(source, source.with_suffix(".none"), params)
    said = "".join(_log)
    types = {name: GGMLType[(given or now).upper()] for name, now, given in _PLANNED.findall(said)}
    return Planned(types, "will require an imatrix" in said)


def _parameters(number: int, imatrix: Mapping[str, np.ndarray] | None, threads: int):
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.nthread = number, threads
    if imatrix:
        entries = (llama.llama_model_imatrix_data * (len(imatrix) + 1))()
        held = {name: np.ascontiguousarray(values, np.float32) for name, values in imatrix.items()}
        for entry, (name, values) in zip(entries, held.items(), strict=False):
            entry.name, entry.size = name.encode(), values.size
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        params.imatrix, params.held = entries, held  # the arrays must live as long
    return params


def _call(source: Path, output: Path, params) -> None:
    _log.clear()
    llama.llama_log_set(_remember, None)
    try:
        if llama.llama_model_quantize(str(source).encode(), str(output).encode(), ctypes.byref(params)):
            raise Refused("".join(_log[-20:]))
    finally:
        llama.llama_log_set(LOG._callback, ctypes.c_void_p(0))  # the runtime's own log, which other tests read
