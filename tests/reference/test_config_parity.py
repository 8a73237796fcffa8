"""The table of config.json's fields is that of transformers' classes, and what it refuses they compute otherwise."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from helpers.checkpoint_families import make_checkpoint
from transformers import (
    AutoModelForCausalLM,
    Gemma4AssistantConfig,
    Gemma4Config,
    Gemma4TextConfig,
    Gemma4UnifiedAssistantConfig,
    Gemma4UnifiedConfig,
    Gemma4UnifiedTextConfig,
)
from transformers.modeling_rope_utils import RopeParameters

from gemma_mtp.errors import CheckpointError
from gemma_mtp.model.config import DEFAULTS, parse_config
from gemma_mtp.model.config_fields import BOUNDS, HARMLESS, ROPE_KNOWN, USED
from gemma_mtp.model.family import read_model

CLASSES = (
    Gemma4TextConfig,
    Gemma4Config,
    Gemma4AssistantConfig,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedConfig,
    Gemma4UnifiedAssistantConfig,
)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_field_of_the_class_is_known(kind):
    fields = {field.name for field in dataclasses.fields(kind)}
    assert fields - USED - HARMLESS.keys() - BOUNDS.keys() == set()


def test_no_field_is_in_two_tables():
    assert not USED & HARMLESS.keys()
    assert not (USED | HARMLESS.keys()) & BOUNDS.keys()
    assert not DEFAULTS.keys() - USED


def test_every_field_of_rope_is_known():
    assert set(RopeParameters.__annotations__) <= ROPE_KNOWN


def test_what_transformers_saves_is_taken_without_a_word(tmp_path):
    for family in ("dense", "moe", "per-layer", "multimodal", "unified", "assistant", "centroid-assistant"):
        assert read_model(make_checkpoint(family, tmp_path / family)).notes == ()


def _logits(config: dict, folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    (folder / "config.json").write_text(json.dumps(config))
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(tokens).logits


FULL, SLIDING = "full_attention", "sliding_attention"


def rope(layers: str, **changes):
    return lambda config: config["rope_parameters"][layers].update(changes)


#: Changes that llama.cpp's graph does not follow: refused.
BEYOND = {
    "linear rope (full)": rope(FULL, rope_type="linear", factor=8.0, partial_rotary_factor=1.0),
    "YaRN (full)": rope(
        FULL, rope_type="yarn", factor=4.0, partial_rotary_factor=1.0, original_max_position_embeddings=64
    ),
    "plain rope (full)": rope(FULL, rope_type="default"),
    "proportional rope with a factor": rope(FULL, factor=2.0),
    "linear rope (sliding)": rope(SLIDING, rope_type="linear", factor=8.0),
    "proportional rope (sliding)": rope(SLIDING, rope_type="proportional", partial_rotary_factor=0.5),
    "another activation": lambda config: config.update(hidden_activation="silu"),
    "GELU without tanh": lambda config: config.update(hidden_activation="gelu"),
    "bidirectional attention": lambda config: config.update(use_bidirectional_attention="all"),
}
#: Changes that make no difference: taken.
EQUAL = {
    "the same activation": lambda config: config.update(hidden_activation="gelu_new"),
    "bidirectional images": lambda config: config.update(use_bidirectional_attention="vision"),
    "dropout": lambda config: config.update(attention_dropout=0.5),
    "a factor of 1": rope(FULL, factor=1.0),
    "the last layer": lambda config: config.update(layer_types=[*config["layer_types"][:-1], SLIDING]),
}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, torch.Tensor]:
    folder = make_checkpoint("dense", tmp_path_factory.mktemp("dense"))
    config = json.loads((folder / "config.json").read_text())
    tokens = torch.arange(2, 92).reshape(1, -1)
    return folder, config, _logits(config, folder, tokens)


@pytest.mark.parametrize("change", BEYOND)
def test_beyond_the_graph(change, dense):
    """transformers computes something else, so the checkpoint is refused."""
    folder, config, usual = dense
    config = copy.deepcopy(config)
    BEYOND[change](config)
    other = _logits(config, folder, torch.arange(2, 92).reshape(1, -1))
    assert (other - usual).abs().max() > 1e-3
    with pytest.raises(CheckpointError, match=r"llama\.cpp (computes|rotates)"):
        parse_config(config, folder / "config.json")


@pytest.mark.parametrize("change", EQUAL)
def test_of_no_consequence(change, dense):
    folder, config, usual = dense
    config = copy.deepcopy(config)
    EQUAL[change](config)
    other = _logits(config, folder, torch.arange(2, 92).reshape(1, -1))
    torch.testing.assert_close(other, usual, atol=1e-4, rtol=1e-3)
    parse_config(config, folder / "config.json")
