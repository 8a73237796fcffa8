"""What damaged headers have shown (`test_headers_llama_cpp.py`), each as a small file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_pairs import ASSISTANT, TARGET, WORDS, Model, model_tensors, weights

from gemma_mtp.errors import GGUFError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.ggml import GGMLType, block_size, row_bytes
from gemma_mtp.validate import verify_file

HYPERS = {"target": TARGET, "assistant": ASSISTANT}
BYTE = WORDS.index("<0x0A>")


def failed(path: Path) -> dict[str, str]:
    return {result.id: result.finding.message for result in verify_file(path).errors}


@pytest.mark.parametrize("part", HYPERS)
@pytest.mark.parametrize("text", ["<0", "", "<0x_A>", "<0x0", "ten", "<0x0A>\x000"])
def test_a_byte_is_written_as_one(part: str, text: str, tmp_path: Path):
    """One of less than three letters stops the loader (`basic_string::substr`), another one is another byte."""
    words = [*WORDS[:BYTE], text, *WORDS[BYTE + 1 :]]
    found = failed(Model(HYPERS[part], words=words, keys=types()).write(tmp_path / "x.gguf"))
    if text.startswith("<0x0A>"):  # up to the zero byte, where llama.cpp's text ends
        assert found == {}
    else:
        assert list(found) == [f"{part}-tokenizer"]
        assert f"at {BYTE}, where tokenizer.ggml.token_type says BYTE" in found[f"{part}-tokenizer"]


def types() -> dict[str, gv.Value]:
    """As if every word of the vocabulary were as it should."""
    kinds = [6 if word.startswith("<0x") else 1 for word in WORDS]
    return {"tokenizer.ggml.token_type": gv.array(gv.ValueType.INT32, kinds)}


def test_other_types_may_have_any_text(tmp_path: Path):
    words = [*WORDS[:BYTE], "<0", *WORDS[BYTE + 1 :]]
    kinds = [1] * len(words)
    changed = {"tokenizer.ggml.token_type": gv.array(gv.ValueType.INT32, kinds)}
    assert failed(Model(TARGET, words=words, keys=changed).write(tmp_path / "x.gguf")) == {}
    assert failed(Model(TARGET, words=words, keys=dict.fromkeys(changed)).write(tmp_path / "y.gguf")) == {}


@pytest.mark.parametrize("part", HYPERS)
def test_shapes_are_compared_in_all_dimensions(part: str, tmp_path: Path):
    """[1, 32, 16] is [32, 16] to llama.cpp; the same numbers in another order are not."""
    name, (kind, data) = next(
        (name, one) for name, one in model_tensors(HYPERS[part], 0).items() if name.endswith("ffn_up.weight")
    )
    longer = Model(HYPERS[part], tensors={name: (kind, data[None, None])}).write(tmp_path / "x.gguf")
    assert failed(longer) == {}
    turned = Model(HYPERS[part], tensors={name: (kind, data[:, None])}).write(tmp_path / "y.gguf")
    assert list(failed(turned)) == [f"{part}-shapes"]


@pytest.mark.parametrize("part", HYPERS)
def test_a_zero_byte_in_a_name(part: str, tmp_path: Path):
    """llama.cpp reads a name up to there, so that two could be the same."""
    key = Model(HYPERS[part], keys={"general.name\0": gv.string("x")}).write(tmp_path / "x.gguf")
    with pytest.raises(GGUFError, match=r"key \d+ \('general.name\\x00'\) holds a zero byte"):
        verify_file(key)
    tensor = (GGMLType.F32, weights(HYPERS[part], "output_norm.weight"))
    path = Model(HYPERS[part], tensors={"output_norm.weight\0x": tensor}).write(tmp_path / "y.gguf")
    with pytest.raises(GGUFError, match=r"the name of tensor .* holds a zero byte"):
        verify_file(path)


@pytest.mark.parametrize("kind", [GGMLType.F32, GGMLType.F16])
def test_no_warning_about_weights_that_are_no_numbers(kind: GGMLType, tmp_path: Path):
    """Also a NaN that signals, which NumPy warns of."""
    data = weights(TARGET, "token_embd.weight", kind).view("<u4")
    data[:] = 0x7F800001 if kind is GGMLType.F32 else 0x7C017C01
    stored = data.view("<f4" if kind is GGMLType.F32 else "u1")
    path = Model(TARGET, tensors={"token_embd.weight": (kind, stored)}).write(tmp_path / "x.gguf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(failed(path)) == ["target-finite"]


def test_no_warning_about_scales_that_overflow(tmp_path: Path):
    """The largest scale of MXFP4, 2^127, and its largest digits."""
    words = (TARGET.vocabulary, TARGET.hidden // block_size(GGMLType.MXFP4) * row_bytes(GGMLType.MXFP4, 32))
    stored = (GGMLType.MXFP4, np.full(words, 0xFE, np.uint8))
    path = Model(TARGET, tensors={"token_embd.weight": stored}).write(tmp_path / "x.gguf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "target-zeros" not in failed(path)
