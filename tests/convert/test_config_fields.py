"""What a config.json says is heeded, refused or told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.errors import CheckpointError
from gemma_mtp.model.config import parse_config
from gemma_mtp.model.family import read_model


def config_of(part: str = "target") -> dict:
    return json.loads((PAIR / part / "config.json").read_text())


def changed(part: str = "target", **fields) -> dict:
    """The demo pair's config; fields of the text model are changed there."""
    config = config_of(part)
    text = config.get("text_config", config)
    for name, value in fields.items():
        (text if name in text or name not in config else config)[name] = value
    return config


def refused(config: dict) -> str:
    with pytest.raises(CheckpointError) as caught:
        parse_config(config, Path("config.json"))
    return caught.value.what


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("target", "attention_bias", True),
        ("target", "hidden_activation", "silu"),
        ("target", "hidden_activation", 3),
        ("target", "use_bidirectional_attention", "all"),
        ("target", "is_encoder_decoder", True),
        ("assistant", "hidden_size_per_layer_input", 32),
        ("assistant", "enable_moe_block", True),
        ("assistant", "use_double_wide_mlp", True),
        ("assistant", "num_kv_shared_layers", 3),
    ],
)
def test_beyond_the_graph(part, name, value):
    assert f"{name} is {value!r}, and llama.cpp computes " in refused(changed(part, **{name: value}))


def test_all_of_it_is_told_at_once():
    said = refused(changed(attention_bias=True, hidden_activation="relu"))
    assert "attention_bias" in said
    assert "hidden_activation" in said


def test_unknown_fields_are_told(tmp_path):
    folder = shutil.copytree(PAIR / "assistant", tmp_path / "a")
    config = changed("assistant")
    config["attention_sinks"] = True
    config["text_config"]["rope_scaling"] = {"type": "yarn", "factor": 4.0}
    config["text_config"]["rope_parameters"]["full_attention"]["offset"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    done = convert_checkpoint(folder, [Output(tmp_path / "a.gguf", "BF16")])
    (note,) = done.notes
    for name in ("attention_sinks", "text_config.rope_scaling", "rope_parameters.full_attention.offset"):
        assert name in note


def test_nothing_is_told_of_the_pair(tmp_path):
    for part in ("target", "assistant"):
        assert convert_checkpoint(PAIR / part, [Output(tmp_path / f"{part}.gguf", "BF16")]).notes == ()


def test_the_last_layer_is_full_as_in_transformers():
    config = config_of()
    text = config.get("text_config", config)
    text["layer_types"][-1] = "sliding_attention"
    model = parse_config(config, Path("config.json"))
    assert model.sliding == read_model(PAIR / "target").sliding
    assert "last layer" in model.notes[0]


@pytest.mark.parametrize(
    ("per_layer", "says"),
    [
        ({"0": {"head_dim": 32}}, "the sliding layer 0 the head_dim 32"),
        ({"0": {"intermediate_size": 32}}, "changes intermediate_size in layer 0"),
        ({"0": 3}, "an object of objects"),
        ([1], "an object of objects"),
    ],
)
def test_layers_that_no_gguf_can_say(per_layer, says):
    assert says in refused(changed("assistant", per_layer_config=per_layer))


def test_full_layers_that_differ():
    config = config_of()
    text = config.get("text_config", config)
    text["layer_types"] = ["full_attention", "sliding_attention", "full_attention"]
    text["per_layer_config"] = {"2": {"head_dim": 2 * text["head_dim"]}}
    assert "the full layers the odd head_dim" in refused(config)
    text["per_layer_config"] = {}
    assert parse_config(config, Path("config.json")).head_dim_full == text["head_dim"]


@pytest.mark.parametrize(
    "fields",
    [
        {"num_hidden_layers": 2**31 - 1, "layer_types": None},
        {"num_hidden_layers": 513},
        {"num_experts": 10**6, "enable_moe_block": True, "top_k_experts": 2, "moe_intermediate_size": 8},
        {"rms_norm_eps": 10**400},
        {"rms_norm_eps": 0},
        {"rms_norm_eps": float("nan")},
        {"final_logit_softcapping": 10**400},
        {"final_logit_softcapping": float("inf")},
        {"rope_parameters": {"sliding_attention": {"rope_theta": 0}, "full_attention": {"rope_theta": 1e6}}},
        {"text_config": [1]},
        {"architectures": [["x"]]},
        {"architectures": [{}]},
    ],
    ids=str,
)
def test_numbers_out_of_bounds(fields):
    config = changed("target", **fields)
    config.update({key: value for key, value in fields.items() if key in ("architectures", "text_config")})
    assert refused(config)
