"""DFlash drafters in RedHatAI's layout (vllm-project/speculators), and those of other kinds, which are told by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.dflash_checkpoints import in_speculators_layout, make_drafter
from transformers import Qwen3Config

from gemma_mtp.convert import convert_model
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, CheckpointError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.model.dflash.layouts import LAYOUTS, OTHER_DRAFTERS
from gemma_mtp.model.family import read_model
from gemma_mtp.quantize import quantize_model
from gemma_mtp.validate import verify_pair

CHOSEN = torch.arange(3, 2048, 4)
#: Keys that say where a file comes from.
ORIGIN = ("general.", "gemma_mtp.")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_drafter(tmp_path_factory.mktemp("plain") / "tiny-DFlash")


@pytest.fixture(scope="module")
def few(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose own head knows a quarter of the tokens."""
    return in_speculators_layout(plain, tmp_path_factory.mktemp("few") / "tiny-speculator.dflash", CHOSEN)


@pytest.fixture(scope="module")
def few_gguf(few: Path, target_gguf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("gguf") / "dflash-few-BF16.gguf"
    convert_model(few, output, target=target_gguf("BF16"))
    return output


def changed(source: Path, folder: Path, layers: dict | None = None, **changes) -> Path:
    """A config.json alone, with changes at the top, and in its layers."""
    config = json.loads((source / "config.json").read_text()) | changes
    config["transformer_layer_config"] |= layers or {}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_it_is_the_same_drafter_as_in_z_labs_layout(plain: Path, target_gguf, tmp_path: Path):
    """z-lab's is held to upstream's converter; this one differs in how its trainer took the embeddings."""
    other = in_speculators_layout(plain, tmp_path / "tiny-speculator.dflash")
    for source, name in ((plain, "a"), (other, "b")):
        convert_model(source, tmp_path / f"{name}.gguf", target=target_gguf("BF16"))
    with GGUFFile(tmp_path / "a.gguf") as a, GGUFFile(tmp_path / "b.gguf") as b:
        assert list(a.tensors) == list(b.tensors)
        for name in a.tensors:
            assert bytes(a.span(a.tensors[name]).read()) == bytes(b.span(b.tensors[name]).read()), name
        keys = [{key: one.metadata[key] for key in one.metadata if not key.startswith(ORIGIN)} for one in (a, b)]
        differing = {key for key in keys[0].keys() | keys[1].keys() if keys[0].get(key) != keys[1].get(key)}
        assert differing == {"dflash.embedding_scale", "dflash.final_logit_softcapping"} & differing
        assert b.metadata["dflash.embedding_scale"].decode() == 1.0
    report = verify_pair(target_gguf("BF16"), tmp_path / "b.gguf", strict=True)
    assert report.ok, report.verdict
    assert next(one for one in report.results if one.id == "embedding-scale").status.value == "note"


def test_a_head_for_some_tokens(few: Path, few_gguf: Path, target_gguf):
    with GGUFFile(few_gguf) as file:
        ids, head = file.tensors["d2t"], file.tensors["output.weight"]
        assert (ids.type.name, head.shape) == ("I64", (len(CHOSEN), 512))
        assert np.frombuffer(file.span(ids).read(), np.int64).tolist() == CHOSEN.tolist()
        assert "token_embd.weight" not in file.tensors
    for one in (few_gguf, few):
        report = verify_pair(target_gguf("BF16"), one, strict=True)
        assert report.ok, report.verdict
        told = next(result for result in report.results if result.id == "embeddings")
        assert "512 tokens" in told.finding.assistant


def test_its_list_of_tokens_is_never_quantized(few_gguf: Path, tmp_path: Path):
    quantize_model(few_gguf, ["Q4_0"], tmp_path / "q.gguf")
    with GGUFFile(tmp_path / "q.gguf") as file, GGUFFile(few_gguf) as source:
        assert file.tensors["d2t"].type.name == "I64"
        lists = [bytes(one.span(one.tensors["d2t"]).read()) for one in (file, source)]
    assert lists[0] == lists[1]
    with pytest.raises(BadFileError, match="no room"):
        convert_model(few_gguf, tmp_path / "fork.gguf", dialect="lucebox")


@pytest.mark.parametrize(
    ("layers", "changes", "message"),
    [
        pytest.param({}, {"sample_from_anchor": True}, "own place", id="anchor"),
        pytest.param({}, {"sliding_window_non_causal": False}, "one of the two", id="mixed"),
        pytest.param({}, {"aux_hidden_state_layer_ids": [0, 1]}, "from 1", id="layers from 0"),
        pytest.param({}, {"draft_vocab_size": 4096}, "draft_vocab_size", id="too many"),
        pytest.param({"rope_parameters": {"rope_type": "yarn"}}, {}, "rope", id="rope"),
        pytest.param({}, {"transformer_layer_config": []}, "neither an object dflash_config", id="no layout"),
    ],
)
def test_refused_configs(few: Path, tmp_path: Path, layers: dict, changes: dict, message: str):
    folder = tmp_path / "changed"
    if isinstance(changes.get("transformer_layer_config"), list):
        folder.mkdir()
        config = json.loads((few / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(config))
    else:
        changed(few, folder, layers, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_model(folder)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        pytest.param(torch.full((512,), 2048), "do not exist", id="beyond"),
        pytest.param(torch.arange(0, -512, -1), "chosen twice", id="twice"),
        pytest.param(torch.zeros(512), "not I64", id="dtype"),
        pytest.param(torch.zeros(511, dtype=torch.int64), "wrong shape", id="short"),
        pytest.param(None, "missing: d2t", id="none"),
    ],
)
def test_refused_lists(few: Path, target_gguf, tmp_path: Path, ids: torch.Tensor | None, message: str):
    from safetensors.torch import load_file, save_file

    folder = changed(few, tmp_path / "changed")
    weights = load_file(few / "model.safetensors")
    del weights["d2t"]
    save_file(weights | ({} if ids is None else {"d2t": ids}), folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        convert_model(folder, tmp_path / "x.gguf", target=target_gguf("BF16"))
    assert not (tmp_path / "x.gguf").exists()


def test_sliding_layers_that_look_one_way(few: Path, tmp_path: Path):
    """All layers alike: llama.cpp can say that. None has a window: there is nothing to say."""
    both = {"layer_types": ["sliding_attention"] * 2}
    for number, (layers, non_causal, wanted) in enumerate(
        [(both, False, True), (both, True, None), ({"use_sliding_window": False}, False, None)]
    ):
        folder = changed(few, tmp_path / str(number), layers, sliding_window_non_causal=non_causal)
        assert read_model(folder).causal is wanted


def test_what_is_not_said_is_as_in_transformers():
    """Older versions write no field of the layers that is as Qwen3's class has it."""
    usual, theirs = LAYOUTS[1].defaults, Qwen3Config()
    said = {name: getattr(theirs, name) for name in usual if hasattr(theirs, name)}
    assert said == {name: usual[name] for name in said}
    assert theirs.rope_parameters["rope_theta"] == usual["rope_theta"]
    assert len(said) >= 9


@pytest.mark.parametrize("name", OTHER_DRAFTERS)
def test_other_drafters_are_told_by_name(tmp_path: Path, name: str):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [name]}))
    with pytest.raises(CheckpointError) as caught:
        convert_model(tmp_path, tmp_path / "x.gguf", target=PAIR / "target")
    assert OTHER_DRAFTERS[name] in caught.value.what
    assert "convert_hf_to_gguf.py" in (caught.value.hint or "")
