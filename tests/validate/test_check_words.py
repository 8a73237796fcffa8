"""What the checks of keys and tensors say, word for word: where a list ends, what is counted, a value's column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.header_damage import Header, Record
from helpers.loader_verdicts import small_model
from helpers.tiny_pairs import ASSISTANT, TARGET, Model, weights

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_writer import padded
from gemma_mtp.ggml import GGMLType
from gemma_mtp.validate import Status, verify_file

A = "gemma4-assistant"
ONE = (GGMLType.F32, np.ones(4, "f4"))
NORM = (GGMLType.F16, weights(TARGET, "output_norm.weight", GGMLType.F16))
NUMBERS = (GGMLType.I32, np.ones((128, 96), "i4"))
HALVES = (GGMLType.F64, np.ones((128, 64), "f8"))


def target_without(*keys: str) -> Model:
    return Model(TARGET, {f"gemma4.{key}": None for key in keys})


KEYS = ("context_length", "embedding_length", "rope.freq_base", "attention.key_length_swa")
UP = "ffn_up.weight"
#: Check, target's and assistant's column, what is said -> the file.
ERRORS = {
    (
        "target-keys",
        "4 wrong",
        "",
        "the target's header is not that of a Gemma 4 target: gemma4.context_length is missing; "
        "gemma4.embedding_length is missing; gemma4.rope.freq_base is missing; and 1 more",
    ): target_without(*KEYS),
    (
        "target-keys",
        "3 wrong",
        "",
        "the target's header is not that of a Gemma 4 target: gemma4.context_length is missing; "
        "gemma4.embedding_length is missing; gemma4.rope.freq_base is missing",
    ): target_without(*KEYS[:3]),
    (
        "mtp-layers",
        "",
        "3 of 4",
        f"{A}.nextn_predict_layers is 3, block_count is 4; llama.cpp stops at an assistant in which not every layer "
        "is an MTP layer",
    ): Model(ASSISTANT, {f"{A}.nextn_predict_layers": gv.u32(3)}),
    (
        "own-width",
        "",
        "64 / 64",
        f"{A}.embedding_length_out is the assistant's own width, 64; llama.cpp refuses such a file (`requires "
        "embedding_length_out to carry the target hidden size`)",
    ): Model(replace(ASSISTANT, backbone=64)),
    **{
        (
            "target-extra",
            "1 unknown",
            "",
            f"the target has tensors that llama.cpp does not know ({name}); it stops with `wrong number of tensors`. "
            "Vision and audio are packed into this file, as Ollama's own engine wants it",
        ): Model(TARGET, tensors={name: ONE})
        for name in ("v.patch", "a.conv", "mm.soft")
    },
    (
        "assistant-extra",
        "",
        "4 unknown",
        "the assistant has tensors that llama.cpp does not know (x0, x1, x2 and 1 more); it stops with `wrong number "
        "of tensors`",
    ): Model(ASSISTANT, tensors={f"x{number}": ONE for number in range(4)}),
    (
        "assistant-extra",
        "",
        "3 unknown",
        "the assistant has tensors that llama.cpp does not know (x0, x1, x2); it stops with `wrong number of tensors`",
    ): Model(ASSISTANT, tensors={f"x{number}": ONE for number in range(3)}),
    (
        "target-types",
        "F16, F32",
        "",
        "in the target output_norm.weight is F16, not F32; llama.cpp has no kernel for that",
    ): Model(TARGET, tensors={"output_norm.weight": NORM}),
    (
        "target-types",
        "F32, I32",
        "",
        f"in the target blk.0.{UP} is I32, which is no type for weights; llama.cpp has no kernel for that",
    ): Model(TARGET, tensors={f"blk.0.{UP}": NUMBERS}),
    (
        "assistant-types",
        "",
        "F32, F64",
        f"in the assistant blk.0.{UP} is F64, which is no type for weights; llama.cpp has no kernel for that",
    ): Model(ASSISTANT, tensors={f"blk.0.{UP}": HALVES}),
    (
        "target-tensors",
        "55 tensors",
        "",
        f"the target lacks blk.0.{UP}, blk.1.{UP}, blk.2.{UP} and 1 more; llama.cpp stops with `missing tensor "
        f"'blk.0.{UP}'`",
    ): Model(TARGET, tensors={f"blk.{number}.{UP}": None for number in range(4)}),
    (
        "assistant-tensors",
        "",
        "48 tensors",
        f"the assistant lacks blk.1.{UP}; llama.cpp stops with `missing tensor 'blk.1.{UP}'`",
    ): Model(ASSISTANT, tensors={f"blk.1.{UP}": None}),
    (
        "assistant-tensors",
        "",
        "48 tensors",
        "the assistant lacks token_embd.weight, which it means to share with its target: only Unsloth's builds of "
        "llama.cpp load such a file (`-shared-` in its name)",
    ): Model(ASSISTANT, {f"{A}.nextn_shared_target_tensors": gv.boolean(True)}, {"token_embd.weight": None}),
    (
        "masked-embeddings",
        "",
        "masked_embd_centroids.weight, masked_embd_ordering",
        "the assistant has masked_embd_centroids.weight, masked_embd_ordering: llama.cpp knows the name but fails on "
        "such a file, with `vector::_M_range_check` or, on Windows, `invalid vector subscript`",
    ): Model(ASSISTANT, tensors={"masked_embd_centroids.weight": ONE, "masked_embd_ordering": ONE}),
    (
        "target-layer-scales",
        "3 of 4",
        "",
        "the target lacks blk.1.layer_output_scale.weight; llama.cpp says nothing, takes 1 and computes "
        "another function",
    ): Model(TARGET, tensors={"blk.1.layer_output_scale.weight": None}),
}
#: Of a sound file: check -> target's and assistant's column.
SOUND = {
    "target": {
        "parts": ("gemma4 (target)", ""),
        "target-keys": ("22 keys", ""),
        "target-tokenizer": ("8 keys", ""),
        "target-layer-scales": ("4 of 4", ""),
        "target-tensors": ("59 tensors", ""),
        "target-types": ("F32", ""),
        "target-extra": ("", ""),
        "target-shapes": ("", ""),
    },
    "assistant": {
        "parts": ("", "gemma4-assistant (assistant)"),
        "assistant-keys": ("", "25 keys"),
        "assistant-tokenizer": ("", "8 keys"),
        "mtp-layers": ("", "4 of 4"),
        "own-width": ("", "96 / 64"),
        "assistant-tensors": ("", "49 tensors"),
        "assistant-types": ("", "F32"),
        "masked-embeddings": ("", "none"),
    },
}


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number: int, tmp_path: Path):
    (check, target, assistant, message), model = list(ERRORS.items())[number]
    report = verify_file(model.write(tmp_path / "x.gguf"))
    assert [result.id for result in report.errors] == [check]
    finding = report.errors[0].finding
    assert (finding.message, finding.target, finding.assistant) == (message, target, assistant)


@pytest.mark.parametrize("part", SOUND)
def test_a_sound_file(part: str, tmp_path: Path):
    path = Model(TARGET if part == "target" else ASSISTANT).write(tmp_path / "x.gguf")
    report = verify_file(path)
    assert report.notes == ()
    found = {one.id: one for one in report.results}
    assert {name: found[name].status for name in SOUND[part]} == dict.fromkeys(SOUND[part], Status.OK)
    assert {name: (found[name].finding.target, found[name].finding.assistant) for name in SOUND[part]} == SOUND[part]


@pytest.mark.parametrize(("part", "remedy"), [("target", "convert Google's checkpoint"), ("assistant", "in order")])
def test_data_in_another_order(part: str, remedy: str, tmp_path: Path):
    keys, plans, data = small_model(part)
    records = [Record(plan.name.encode(), plan.shape[::-1], plan.type.value) for plan in plans]
    header = Header([(name.encode(), value) for name, value in keys.items()], records)
    header.lay_out()
    header.records[1:3] = header.records[2:0:-1]
    raw = header.encoded()
    (tmp_path / "x.gguf").write_bytes(raw.ljust(padded(len(raw)), b"\0") + data)
    (finding,) = (result.finding for result in verify_file(tmp_path / "x.gguf").errors)
    assert "; llama.cpp stops with `failed to read tensor data`" in finding.message
    assert remedy in finding.remedy
    assert (finding.target, finding.assistant) == (("out of order", "") if part == "target" else ("", "out of order"))
