"""Every key that llama.cpp reads, in every type, length and range: `verify` says of a file what the real loader does.

A file that `verify` calls sound must load, and a target must read a text as well. The other way round it is stricter
where a value loads and makes another function of the model, or none that we know: `STRICTER` says where, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.loader_keys import DIALECTS, keys_of
from helpers.tiny_pairs import ASSISTANT, TARGET, WORDS, edited, model_keys, model_tensors, plan_of, vocabulary

from gemma_mtp.errors import GGUFError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import DTYPES, Value, ValueType
from gemma_mtp.files.gguf_writer import encode_header, padded
from gemma_mtp.native.child import in_child
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate import Status
from gemma_mtp.validate.checks import attachment
from gemma_mtp.validate.checks import vocabulary as vocabulary_checks
from gemma_mtp.validate.pair import Pair
from gemma_mtp.validate.verify import check_file

#: Smaller than the other tests' models: there are some thousand files.
SMALL = {"intermediate": 32, "heads": 2, "kv_heads_sliding": 1, "head_dim_sliding": 16, "head_dim_full": 32}
HYPERS = {
    "target": replace(TARGET, hidden=32, **SMALL),
    "assistant": replace(ASSISTANT, hidden=16, backbone=32, **SMALL),
}
NUMBERS = tuple(ValueType[name] for name in ("UINT16", "UINT32", "INT32", "UINT64", "FLOAT32", "FLOAT64"))
ITEMS = (ValueType.UINT32, ValueType.INT32, ValueType.FLOAT32, ValueType.BOOL)
#: Enough for a flag or an id that may be missing.
FEW = ("missing", "UINT32", "INT32", "FLOAT32", "BOOL", "STRING", "false", "-1")

#: Where `verify` refuses what loads -> why.
STRICTER = {
    "attention.causal": "another function",
    "attention.head_count_kv": "a BOOL is no count, and 0 heads have no keys",
    "attention.layer_norm_rms_epsilon": "NaN and -1",
    "attention.value_length": "an assistant reads its target's values: the lengths must agree",
    "embedding_length_per_layer_input": "an assistant has none; a count below 0 loads, and means nothing",
    "mtp.centroid_count": "a key of ours, which llama.cpp skips",
    "mtp.centroid_top_k": "a key of ours, which llama.cpp skips",
    "attention.shared_kv_layers": "an assistant has no keys of its own",
    "attention.sliding_window": "a window of 0 or 2^32 - 1 tokens is none",
    "attention.sliding_window_pattern": "the layers that it leaves out would count as full ones",
    "classifier.pooling_type": "a number above 2^31 is none",
    "context_length": "a length of 0 is none",
    "embedding_length_out": "a number above 2^31 is none",
    "expert_feed_forward_length": "a BOOL is no width",
    "expert_group_used_count": "a number above 2^31 is none",
    "final_logit_softcapping": "NaN",
    "pooling_type": "a number above 2^31 is none",
    "rope.freq_base": "10,000, which llama.cpp assumes, is wrong for every Gemma 4; NaN",
    "rope.freq_base_swa": "NaN",
    "rope.dimension_count": "more dimensions than a head has, which aborts at the first draft",
    "rope.dimension_count_swa": "more dimensions than a head has, which aborts at the first draft",
    "rope.scale_linear": "NaN",
    "rope.scaling.alpha": "NaN",
    "rope.scaling.attn_factor": "NaN",
    "rope.scaling.factor": "NaN",
    "rope.scaling.original_context_length": "a number above 2^31 is none",
    "general.file_type": "a number above 2^31 is none",
    "tokenizer.chat_template": "a number is no template",
    "tokenizer.ggml.bos_token_id": "an assistant reads no text, so it loads without; its target would not read any",
    "tokenizer.ggml.token_type_count": "a number above 2^31 is none",
}


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


def mutated(part: str, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(key, what its value is, the file) for every key and every value."""
    keys, tensors = {**model_keys(HYPERS[part]), **vocabulary(WORDS)}, model_tensors(HYPERS[part], 0)
    plans = [plan_of(name, kind, data) for name, (kind, data) in tensors.items()]
    data = b"".join(
        np.ascontiguousarray(data).tobytes().ljust(padded(plan.nbytes), b"\0")
        for plan, (_, data) in zip(plans, tensors.values(), strict=True)
    )
    for number, (name, key) in enumerate(keys_of(part).items()):
        usual = keys.get(name)
        sample = (usual.integer() if usual is not None else None) or 1
        length = len(WORDS) if key.form.length == "tokens" else HYPERS[part].layers
        chosen = values(length, sample)
        few = not key.needed and key.form.scalar is not None and not key.form.items
        for what in FEW if few else chosen:
            value = chosen[what]
            path = folder / f"{number}-{what}.gguf"
            path.write_bytes(encode_header(edited(keys, {name: value}), plans) + data)
            yield name, what, path


def is_sound(path: Path, part: str) -> bool:
    try:
        with open_model(path, part) as side:
            alone = check_file(side, "target-finite", "assistant-finite")
            if alone.errors:
                return False
            pair = Pair(target=side, assistant=side)  # what is only asked of two files, and judges one
            needed = [vocabulary_checks.tokenizer_model(pair)]
            if part == "target":
                needed.append(attachment.donor_layers(side))
            return all(finding.status is not Status.ERROR for finding in needed)
    except GGUFError:
        return False


@pytest.mark.parametrize("part", HYPERS)
def test_verdicts_are_the_loaders(part, tmp_path):
    cases = list(mutated(part, tmp_path))
    assert {name for name, _, _ in cases} == set(keys_of(part))
    sound = [is_sound(path, part) for _, _, path in cases]
    usable = next(in_child("helpers.load_many:usable", [str(path) for _, _, path in cases], part == "target"))
    assert any(sound)
    assert not all(sound)
    verdicts = list(zip(cases, sound, usable, strict=True))
    assert [(name, what) for (name, what, _), ours, theirs in verdicts if ours and not theirs] == []
    prefix = f"{DIALECTS[part].architecture}."
    refused = [(name.removeprefix(prefix), what) for (name, what, _), ours, theirs in verdicts if theirs and not ours]
    assert [case for case in refused if case[0] not in STRICTER] == []
