"""Every key that llama.cpp reads, in every type, length and range: `verify` says of a file what the real loader does.

A file that `verify` calls sound must load, and a target must read a text as well. The other way round it is stricter
where a value loads and makes another function of the model, or none that we know: `STRICTER` says where, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from making import ASSISTANT, TARGET, WORDS, _plan, edited, model_keys, model_tensors, vocabulary

from gemma_mtp.errors import GGUFError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import DTYPES, Value, ValueType
from gemma_mtp.files.gguf_writer import encode_header, padded
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.keys import COMMON_KEYS, MODEL_KEYS, Key
from gemma_mtp.validate.keys import spelled
from gemma_mtp.validate.places import open_side
from gemma_mtp.validate.side import TARGET_DIALECT
from gemma_mtp.validate.verify import check_file

HYPERS = {"target": TARGET, "assistant": ASSISTANT}
DIALECTS = {"target": TARGET_DIALECT, "assistant": MAINLINE}
NUMBERS = [kind for kind in DTYPES if kind is not ValueType.BOOL]
ITEMS = (ValueType.UINT32, ValueType.INT32, ValueType.UINT64, ValueType.FLOAT32, ValueType.BOOL)


def values(length: int, number: int) -> dict[str, Value | None]:
    """A value of every type, arrays of this length and of others, odd numbers, and nothing."""
    longer = {
        f"{kind.name}[{length + more:+}]": gv.array(kind, [number] * (length + more))
        for kind in (ValueType.INT32, ValueType.FLOAT32)
        for more in (-1, 1)
    }
    return {
        "missing": None,
        **{kind.name: gv.scalar(kind, number if DTYPES[kind].itemsize > 2 else 1) for kind in NUMBERS},
        "BOOL": gv.boolean(True),
        "STRING": gv.string("linear"),
        **{f"array of {kind.name}": gv.array(kind, [number] * length) for kind in ITEMS},
        "array of STRING": gv.strings([f"t{index}" for index in range(length)]),
        **longer,
        "0": gv.u32(0),
        "-1": gv.u32(2**32 - 1),
        "4096": gv.u32(4096),
        "NaN": gv.f32(float("nan")),
        "-1.0": gv.f32(-1.0),
        "false": gv.boolean(False),
        "another text": gv.string("unknown"),
    }


def keys_of(part: str) -> dict[str, Key]:
    """The keys that are read from a file of this part, by the names that they have there."""
    names = ((spelled(DIALECTS[part], key.name), key) for key in MODEL_KEYS if part in key.parts)
    return {name: key for name, key in (*names, *((key.name, key) for key in COMMON_KEYS)) if name}


def mutated(part: str, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(key, what its value is, the file) for every key and every value."""
    keys, tensors = {**model_keys(HYPERS[part]), **vocabulary(WORDS)}, model_tensors(HYPERS[part], 0)
    plans = [_plan(name, kind, data) for name, (kind, data) in tensors.items()]
    data = b"".join(
        np.ascontiguousarray(data).tobytes().ljust(padded(plan.nbytes), b"\0")
        for plan, (_, data) in zip(plans, tensors.values(), strict=True)
    )
    for number, (name, key) in enumerate(keys_of(part).items()):
        usual = keys.get(name)
        sample = (usual.integer() if usual is not None else None) or 1
        length = len(WORDS) if key.form.length == "tokens" else HYPERS[part].layers
        for what, value in values(length, sample).items():
            path = folder / f"{number}-{what}.gguf"
            path.write_bytes(encode_header(edited(keys, {name: value}), plans) + data)
            yield name, what, path


def is_sound(path: Path, part: str) -> bool:
    try:
        with open_side(path, part) as side:
            return not check_file(side, "target-finite", "assistant-finite").errors
    except GGUFError:
        return False
