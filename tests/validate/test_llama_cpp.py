"""What llama.cpp makes of files that `verify` refuses: it fails, it aborts, or it drafts noise in silence.

The real library in a child process. Should a new llama.cpp behave otherwise, messages that say "aborts" or "says
nothing" have to be read again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.pair_faults import CASES, A, swapped_words
from helpers.tiny_pairs import ASSISTANT, TARGET, WORDS, Model, changed

from gemma_mtp.errors import LlamaError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.ggml import GGMLType
from gemma_mtp.native.child import NativeCrash, in_child
from gemma_mtp.validate import verify_pair


def write(folder: Path, target: dict, assistant: dict) -> tuple[Path, Path]:
    one = changed(Model(TARGET), target).write(folder / "target.gguf")
    return one, changed(Model(ASSISTANT, seed=1), assistant).write(folder / "mtp-target.gguf")


def drafts(paths: tuple[Path, Path]) -> list[int]:
    return next(in_child("helpers.draft_once:draft", *map(str, paths)))


def errors(paths: tuple[Path, Path]) -> list[str]:
    return [result.id for result in verify_pair(*paths, deep=True).errors]


def test_good_pair_drafts(tmp_path):
    paths = write(tmp_path, {}, {})
    assert errors(paths) == []
    assert len(drafts(paths)) == 2


@pytest.mark.parametrize("case", ["centroids as a tensor", "a token ordering as a tensor"])
def test_masked_embeddings_do_not_load(tmp_path, case):
    paths = write(tmp_path, CASES[case].target, CASES[case].assistant)
    with pytest.raises(LlamaError) as error:
        list(in_child("helpers.draft_once:load", str(paths[1])))
    assert "vector::_M_range_check" in " ".join(error.value.log)
    assert "0 >= this->size() (which is 0)" in " ".join(error.value.log).replace("(which is 0) >=", "0 >=")
    assert errors(paths) == ["masked-embeddings"]


REFUSED = {
    "one MTP layer": "mtp-layers",
    "an assistant as wide as its target": "own-width",
    "no target width": "assistant-keys",
    "a key of the wrong type": "target-keys",
    "an assistant's tensor missing": "assistant-tensors",
    "no rope factors": "assistant-tensors",
    "an embedding of the target's width": "assistant-shapes",
    "a tensor that llama.cpp does not know": "assistant-extra",
    "vision inside the target": "target-extra",
    "ik_llama.cpp's dialect": "dialect",
    "Atomic's dialect": "dialect",
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    """llama.cpp refuses the file, or aborts on an assertion."""
    paths = write(tmp_path, CASES[case].target, CASES[case].assistant)
    with pytest.raises(LlamaError):
        drafts(paths)
    assert errors(paths) == [REFUSED[case]]


#: Two tokens more than the target has, one of which wins every draft.
EXTRA = np.zeros((len(WORDS) + 2, ASSISTANT.hidden), "f4")
EXTRA[-2], EXTRA[-1] = 100.0, -100.0
ABORTS = {
    "width": ({}, {"backbone": 128}),
    "kv-heads": ({}, {"kv_heads_full": 4}),
    "head-size": ({}, {"head_dim_full": 128}),
    "vocabulary-size": (
        {},
        {
            "vocabulary": len(WORDS) + 2,
            "words": [*WORDS, "more", "most"],
            "tensors": {"token_embd.weight": (GGMLType.F32, EXTRA)},
        },
    ),
}


@pytest.mark.parametrize("check", ABORTS)
def test_aborts(tmp_path, check):
    """The process dies of an assertion."""
    paths = write(tmp_path, *ABORTS[check])
    with pytest.raises(NativeCrash) as crash:
        drafts(paths)
    assert crash.value.signal_name in ("SIGABRT", "SIGSEGV")
    assert check in errors(paths)


INFINITE = np.full((128, 64), np.inf, "f4")
NAN = np.full((128, 64), np.nan, "f4")
SILENT = {
    "kv-heads": ({"kv_heads_full": 2}, {}),
    "head-size": ({}, {"head_dim_sliding": 16, "keys": {f"{A}.rope.dimension_count_swa": gv.u32(16)}}),
    "donor-layers": ({"sliding": (True, False, False, False)}, {}),
    "sliding-window": ({}, {"sliding_window": 32}),
    "rope-base": ({}, {"rope_base_full": 500_000.0}),
    "rope-factors": ({}, {"rotary_share_full": 0.5}),
    "tokens": ({}, {"words": swapped_words()}),
    "vocabulary-size": ({}, {"vocabulary": len(WORDS) - 1, "words": WORDS[:-1]}),
    "assistant-finite": ({}, {"tensors": {"blk.1.ffn_up.weight": (GGMLType.F32, NAN)}}),
    "infinite": ({}, {"tensors": {"blk.1.ffn_up.weight": (GGMLType.F32, INFINITE)}}),
    "target-layer-scales": ({"tensors": {"blk.2.layer_output_scale.weight": None}}, {}),
}


@pytest.mark.parametrize("check", SILENT)
def test_silent(tmp_path, check):
    """llama.cpp loads the pair and drafts; only `verify` says that the drafts are worth nothing."""
    paths = write(tmp_path, *SILENT[check])
    assert len(drafts(paths)) == 2
    assert errors(paths) == ["assistant-finite" if check == "infinite" else check]
