"""DFlash drafters: checkpoints, files, and a fork's spelling of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.demo_files import remade
from helpers.dflash_checkpoints import make_drafter
from helpers.followed_advice import advised, run

from gemma_mtp.convert import convert_model
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import BadFileError, CheckpointError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.model.file_name import FileName
from gemma_mtp.quantize import quantize_model
from gemma_mtp.validate import verify_pair

SCALE = "dflash.embedding_scale"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_drafter(tmp_path_factory.mktemp("checkpoint") / "tiny-DFlash")


@pytest.fixture(scope="module")
def drafter(checkpoint: Path, target_gguf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("gguf") / "dflash-tiny-BF16.gguf"
    convert_model(checkpoint, output, target=target_gguf("BF16"))
    return output


def test_the_target_may_be_a_folder_or_a_file(checkpoint: Path, drafter: Path, tmp_path: Path):
    convert_model(checkpoint, tmp_path, target=PAIR / "target")
    assert (tmp_path / "dflash-tiny-BF16.gguf").read_bytes() == drafter.read_bytes()


def test_names():
    name = FileName.parse("dflash-gemma-4-31B-it-Q8_0-lucebox.gguf")
    assert (name.model, name.type, name.dialect, name.family.name) == ("gemma-4-31B-it", "Q8_0", "lucebox", "dflash")
    assert name.checkpoint == "gemma-4-31B-it-DFlash"
    assert str(name) == "dflash-gemma-4-31B-it-Q8_0-lucebox.gguf"


def test_without_its_target(checkpoint: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="no tokenizer") as caught:
        convert_model(checkpoint, tmp_path / "x.gguf")
    assert "--target" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="not converted to lucebox"):
        convert_model(checkpoint, tmp_path / "x.gguf", target=PAIR / "target", dialect="lucebox")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "own", "message"),
    [
        pytest.param({"vocab_size": 2047}, {}, "2,047 tokens", id="another vocabulary"),
        pytest.param({"hidden_act": "gelu"}, {}, "hidden_act is gelu", id="activation"),
        pytest.param({"attention_bias": True}, {}, "attention_bias", id="biases"),
        pytest.param({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, {}, "rope", id="scaled rope"),
        pytest.param({"quantization_config": {"bits": 4}}, {}, "quantized", id="packed"),
        pytest.param({"layer_types": ["full_attention"]}, {}, "layer_types", id="layer types"),
        pytest.param({}, {"target_layer_ids": []}, "target_layer_ids", id="no target layers"),
        pytest.param({}, {"target_layer_ids": [0, 1, 2]}, "of the wrong shape: fc.weight", id="features"),
        pytest.param({}, {"conv_kernel_size": 4}, "DFlash2", id="successor"),
    ],
)
def test_refused(checkpoint: Path, target_gguf, tmp_path: Path, changes: dict, own: dict, message: str):
    folder = tmp_path / "changed-DFlash"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text())
    config |= changes | {"dflash_config": config["dflash_config"] | own}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        convert_model(folder, tmp_path / "x.gguf", target=target_gguf("BF16"))
    assert not (tmp_path / "x.gguf").exists()


def test_a_fork_and_back(drafter: Path, target_gguf, tmp_path: Path):
    fork, back, again = (tmp_path / f"{name}.gguf" for name in ("fork", "back", "again"))
    convert_model(drafter, fork, dialect="lucebox")
    with GGUFFile(fork) as file, GGUFFile(drafter) as plain:
        prefix = "gemma4-dflash-draft.dflash."
        assert not [key for key in file.metadata if key.startswith("tokenizer.")]
        assert file.metadata[f"{prefix}target_layer_ids"].decode().tolist() == [0, 1]
        assert plain.metadata["dflash.target_layers"].decode().tolist() == [1, 2]
        assert file.metadata[f"{prefix}mask_token_id"].integer() == 4
        assert {"dflash.fc.weight", "dflash.hidden_norm.weight"} <= file.tensors.keys()
    with pytest.raises(UsageError, match="no tokenizer"):
        convert_model(fork, back)
    convert_model(fork, back, target=target_gguf("BF16"))
    assert back.read_bytes() == drafter.read_bytes()
    convert_model(back, again, dialect="lucebox")
    assert again.read_bytes() == fork.read_bytes()


def test_the_advised_command_writes_a_forks_file_for_mainline(drafter: Path, target_gguf, tmp_path: Path):
    convert_model(drafter, tmp_path / "fork.gguf", dialect="lucebox")
    report = verify_pair(target_gguf("BF16"), tmp_path / "fork.gguf")
    told = next(result for result in report.errors if result.id == "dialect")
    (command,) = advised(told.finding.remedy)
    assert run([str(target_gguf("BF16")) if word == "TARGET.gguf" else word for word in command], tmp_path).code == 0
    assert verify_pair(target_gguf("BF16"), tmp_path / "OUT.gguf").ok


def test_what_a_fork_cannot_say(drafter: Path, tmp_path: Path):
    flags = {"dflash.attention.sliding_window_pattern": gv.array(ValueType.BOOL, [False, True])}
    with pytest.raises(BadFileError, match="all but the last"):
        convert_model(remade(drafter, tmp_path / "odd.gguf", flags), tmp_path / "x.gguf", dialect="lucebox")
    with pytest.raises(UsageError, match="dialect"):
        convert_model(drafter, tmp_path / "x.gguf", dialect="atomic")
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize("said", [None, gv.f32(0.0)], ids=["missing", "0, which llama.cpp takes for none"])
def test_a_missing_scale_is_added_and_nothing_else(drafter: Path, target_gguf, tmp_path: Path, said: gv.Value | None):
    without = remade(drafter, tmp_path / "without.gguf", {SCALE: said})
    done = convert_model(without, tmp_path / "with.gguf")
    assert any(SCALE in note for note in done.notes)
    assert (tmp_path / "with.gguf").read_bytes() == drafter.read_bytes()
    report = verify_pair(target_gguf("BF16"), without, strict=True)
    told = next(result for result in report.results if result.id == "embedding-scale")
    assert (report.ok, told.status.value) == (True, "note")
    (command,) = advised(told.finding.message)
    assert run(command, tmp_path).code == 0
    assert (tmp_path / "OUT.gguf").read_bytes() == drafter.read_bytes()
    with pytest.raises(UsageError, match="nothing to convert"):
        convert_model(drafter, tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("keys", "check"),
    [
        pytest.param({"dflash.target_layers": gv.array(ValueType.INT32, [1, 3])}, "target-layers", id="last layer"),
        pytest.param({"dflash.target_layers": gv.array(ValueType.INT32, [2, 1])}, "layer-order", id="order"),
        pytest.param({"dflash.target_layers": gv.array(ValueType.INT32, [1])}, "features", id="features"),
        pytest.param({"dflash.target_layers": None}, "assistant-keys", id="no layers"),
        pytest.param({"tokenizer.ggml.mask_token_id": None}, "mask-token", id="no mask token"),
        pytest.param({"dflash.block_size": gv.u32(1)}, "block-size", id="block"),
        pytest.param({"dflash.attention.sliding_window": gv.u32(2)}, "window", id="window"),
        pytest.param({"dflash.attention.sliding_window": gv.u32(2**31 - 1)}, "assistant-keys", id="endless window"),
        pytest.param({SCALE: gv.scalar(ValueType.FLOAT32, 2.0)}, "embedding-scale", id="scale"),
    ],
)
def test_each_fault_is_told_by_its_check(drafter: Path, target_gguf, tmp_path: Path, keys: dict, check: str):
    report = verify_pair(target_gguf("BF16"), remade(drafter, tmp_path / "odd.gguf", keys))
    found = {result.id for result in (*report.errors, *report.warnings)}
    assert check in found
    assert found <= {check, "assistant-shapes"}  # a tensor's shape follows from the layers, too


def test_a_sound_pair(drafter: Path, checkpoint: Path, target_gguf):
    for one in (drafter, checkpoint):
        report = verify_pair(target_gguf("BF16"), one, strict=True)
        assert report.ok, report.verdict
        assert report.memory
        assert report.memory.assistant.cache > 0


def test_recipes_keep_what_is_read_first(drafter: Path, tmp_path: Path):
    quantize_model(drafter, ["draft-q4"], tmp_path / "q.gguf")
    with GGUFFile(tmp_path / "q.gguf") as file:
        kinds = {name: tensor.type.name for name, tensor in file.tensors.items()}
    assert kinds["fc.weight"] == "Q8_0"
    assert kinds["enc.output_norm.weight"] == "F32"
    assert {kinds["blk.0.attn_q.weight"], kinds["blk.1.ffn_down.weight"]} == {"Q4_0"}
