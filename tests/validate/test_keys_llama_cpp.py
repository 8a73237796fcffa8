"""Every key that llama.cpp reads, in every type, length and range: `verify` says of a file what the real loader does.

A file that `verify` calls sound must load, and a target must read a text as well. The other way round it is stricter
where a value loads and makes another function of the model, or none that we know: `STRICTER` says where, and why.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.loader_keys import DIALECTS, STRICTER, keys_of
from helpers.loader_verdicts import HYPERS, small_model, verdicts
from helpers.tiny_pairs import WORDS, edited

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import DTYPES, Value, ValueType
from gemma_mtp.files.gguf_writer import encode_header

NUMBERS = tuple(ValueType[name] for name in ("UINT16", "UINT32", "INT32", "UINT64", "FLOAT32", "FLOAT64"))
ITEMS = (ValueType.UINT32, ValueType.INT32, ValueType.FLOAT32, ValueType.BOOL)
#: Enough for a flag or an id that may be missing.
FEW = ("missing", "UINT32", "INT32", "FLOAT32", "BOOL", "STRING", "false", "-1")


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


def mutated(part: str) -> Iterator[tuple[tuple[str, str], bytes]]:
    """((key, what its value is), the file) for every key and every value."""
    keys, plans, data = small_model(part)
    for name, key in keys_of(part).items():
        usual = keys.get(name)
        sample = (usual.integer() if usual is not None else None) or 1
        length = len(WORDS) if key.form.length == "tokens" else HYPERS[part].layers
        chosen = values(length, sample)
        few = not key.needed and key.form.scalar is not None and not key.form.items
        for what in FEW if few else chosen:
            yield (name, what), encode_header(edited(keys, {name: chosen[what]}), plans) + data


@pytest.mark.parametrize("part", HYPERS)
def test_verdicts_are_the_loaders(part, tmp_path):
    found = [(case, not reasons, usable) for case, reasons, usable in verdicts(part, mutated(part), tmp_path)]
    assert {name for (name, _), _, _ in found} == set(keys_of(part))
    assert {sound for _, sound, _ in found} == {True, False}
    assert [case for case, sound, usable in found if sound and not usable] == []
    prefix = f"{DIALECTS[part].architecture}."
    refused = [(name.removeprefix(prefix), what) for (name, what), sound, usable in found if usable and not sound]
    assert [case for case in refused if case[0] not in STRICTER] == []
