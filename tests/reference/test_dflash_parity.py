"""DFlash files equal those of upstream's converter and quantizer, but for the scale, which upstream leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.dflash_checkpoints import make_drafter
from helpers.llama_quantize import llama_quantize
from helpers.same_gguf import assert_same_gguf
from helpers.upstream_converter import convert as convert_upstream

from gemma_mtp.convert import convert_model
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.quantize import FILE_TYPES, quantize_model

pytestmark = pytest.mark.native
PLAIN = {"use_sliding_window": False, "num_key_value_heads": 4}


@pytest.mark.parametrize("changes", [{}, PLAIN], ids=["sliding", "full"])
def test_converted(changes: dict, tmp_path: Path):
    checkpoint = make_drafter(tmp_path / "tiny-DFlash", **changes)
    theirs = convert_upstream(checkpoint, tmp_path / "theirs.gguf", "bf16", target=PAIR / "target")
    convert_model(theirs, tmp_path / "scaled.gguf")
    convert_model(checkpoint, tmp_path / "ours.gguf", target=PAIR / "target")
    assert_same_gguf(tmp_path / "ours.gguf", tmp_path / "scaled.gguf")


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K_M"])
def test_quantized(kind: str, target_gguf, tmp_path: Path):
    source = tmp_path / "bf16.gguf"
    convert_model(make_drafter(tmp_path / "tiny-DFlash"), source, target=target_gguf("BF16"))
    quantize_model(source, [kind], tmp_path / "ours.gguf")
    theirs = llama_quantize(source, tmp_path / "theirs.gguf", FILE_TYPES[kind].number)
    assert_same_gguf(tmp_path / "ours.gguf", theirs)
