"""What is looked at before two files are loaded: the cases in which llama.cpp would abort instead of refusing."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_pairs import ASSISTANT, TARGET, Model, changed

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.model.dialects import IK
from gemma_mtp.sources.pairing import check_runnable
from gemma_mtp.validate import parse_host, verify_pair
from gemma_mtp.validate.run import RunOptions, with_run

#: What is changed in the target, in the assistant -> what is said.
CASES = {
    "other width": ({}, {"backbone": 128}, "backbone width is 128 in the assistant, 96 in the target"),
    "other vocabulary": ({}, {"words": Model(TARGET).words[:-1]}, "vocabulary is 287 in the assistant, 288 in the"),
    "other KV heads": ({"kv_heads_sliding": 4}, {}, r"KV heads \(sliding\) is 2 in the assistant, 4 in the target"),
    "other head size": ({"head_dim_full": 32}, {}, r"head size \(full\) is 64 in the assistant, 32 in the target"),
    "layers cut off": ({"sliding": (True, False, False, True)}, {}, "its last two layers are not a sliding and a full"),
    "another dialect": ({}, {"dialect": IK}, "in the dialect ik"),
    "a key of another type": ({}, {"keys": {"gemma4-assistant.block_count": gv.string("4")}}, "block_count is STRING"),
    "a key is missing": ({"keys": {"gemma4.embedding_length": None}}, {}, "gemma4.embedding_length is missing"),
    "no vocabulary": ({"keys": {"tokenizer.ggml.tokens": None}}, {}, "tokenizer.ggml.tokens is missing"),
    "no architecture": ({"keys": {"general.architecture": None}}, {}, "its architecture is not named"),
    "another model": ({}, {"keys": {"general.architecture": gv.string("llama")}}, "its architecture is llama"),
}


def written(folder: Path, target: dict, assistant: dict) -> tuple[Path, Path]:
    return (
        changed(Model(TARGET), target).write(folder / "target.gguf"),
        changed(Model(ASSISTANT), assistant).write(folder / "mtp-target.gguf"),
    )


@pytest.mark.parametrize("name", CASES)
def test_refused(tmp_path: Path, name: str):
    target, assistant, words = CASES[name]
    with pytest.raises(BadFileError, match=words):
        check_runnable(*written(tmp_path, target, assistant))


def test_a_good_pair_and_a_target_alone(good_pair: tuple[Path, Path]):
    assert check_runnable(*good_pair).context == TARGET.context
    assert check_runnable(good_pair[0]).layers == TARGET.layers


def test_swapped(good_pair: tuple[Path, Path]):
    with pytest.raises(BadFileError, match="where the target is expected"):
        check_runnable(*good_pair[::-1])
    with pytest.raises(BadFileError, match="its architecture is gemma4; an assistant's is gemma4-assistant"):
        check_runnable(good_pair[0], good_pair[0])


def test_a_checkpoint_is_no_file_for_llama_cpp(good_pair: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(UsageError, match="this is a checkpoint"):
        check_runnable(tmp_path / "checkpoint", good_pair[1])


def test_a_part_of_a_split_model_is_missing(good_pair: tuple[Path, Path], tmp_path: Path):
    """Before it is loaded, and in words: llama.cpp's own are about a tensor."""
    first = good_pair[0].rename(tmp_path / "target-00001-of-00002.gguf")
    with pytest.raises(BadFileError, match="1 of 2 parts are missing"):
        check_runnable(first, good_pair[1])


def test_what_this_llama_cpp_cannot_load_is_a_finding_of_the_run(tmp_path: Path):
    """A pair that is good for its host: the report stands, and says why it was not decoded here."""
    pytest.importorskip("llama_cpp")
    pair = written(tmp_path, {}, {"dialect": IK})
    report = verify_pair(*pair, host=parse_host("ik_llama.cpp@2026-06-10", None, None))
    assert report.ok
    ran = with_run(report, *pair, options=RunOptions((("x", "abc"),), tokens=8))
    assert ran.results[: len(report.results)] == report.results
    finding = ran.results[-1].finding
    assert finding.message.startswith("the pair was not loaded: ")
    assert "dialect ik" in finding.message
    assert "convert" in finding.remedy
