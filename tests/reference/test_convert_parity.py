"""Our GGUFs equal those of upstream's converter, key for key and tensor for tensor."""

from __future__ import annotations

import pytest
import torch
from helpers.checkpoint_families import (
    FAMILIES,
    GLOBAL_KV,
    make_checkpoint,
    save_checkpoint,
    text_config,
    to_older_config,
    to_single_experts,
)
from helpers.llama_quantize import llama_quantize
from helpers.same_gguf import assert_same_gguf
from helpers.upstream_converter import convert as convert_upstream
from transformers import Gemma4ForCausalLM, Gemma4TextConfig, Gemma4UnifiedForCausalLM, Gemma4UnifiedTextConfig

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.model.config import DEFAULTS, UNIFIED_DEFAULTS
from gemma_mtp.quantize import FILE_TYPES


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("part", ["target", "assistant"])
def test_demo_pair(part, type_name, target_gguf, assistant_gguf, tmp_path):
    ours = {"target": target_gguf, "assistant": assistant_gguf}[part](type_name)
    theirs = convert_upstream(PAIR / part, tmp_path / "upstream.gguf", type_name.lower())
    assert_same_gguf(ours, theirs)


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family, type_name, tmp_path):
    checkpoint = make_checkpoint(family, tmp_path / family)
    convert_checkpoint(checkpoint, [Output(tmp_path / "ours.gguf", type_name)])
    theirs = convert_upstream(checkpoint, tmp_path / "upstream.gguf", type_name.lower())
    assert_same_gguf(tmp_path / "ours.gguf", theirs)


@pytest.mark.parametrize("family", ["assistant", "dense"])
def test_older_config(family, tmp_path):
    checkpoint = make_checkpoint(family, tmp_path / family)
    to_older_config(checkpoint)
    convert_checkpoint(checkpoint, [Output(tmp_path / "ours.gguf", "BF16")])
    assert_same_gguf(tmp_path / "ours.gguf", convert_upstream(checkpoint, tmp_path / "upstream.gguf", "bf16"))


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16", "Q8_0"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["centroid-assistant", "moe"])
def test_dtypes(family, dtype, type_name, tmp_path):
    """Checkpoints in F32 and F16; to a quantized type what upstream does in two steps."""
    checkpoint = make_checkpoint(family, tmp_path / family, dtype)
    plain = "F32" if type_name == "Q8_0" else type_name
    theirs = convert_upstream(checkpoint, tmp_path / "upstream.gguf", plain.lower())
    if type_name == "Q8_0":
        theirs = llama_quantize(theirs, tmp_path / "quantized.gguf", FILE_TYPES["Q8_0"].number)
    convert_checkpoint(checkpoint, [Output(tmp_path / "ours.gguf", type_name)])
    assert_same_gguf(tmp_path / "ours.gguf", theirs)


@pytest.mark.parametrize("prefix", ["experts", "moe.experts"])
def test_single_experts(prefix, tmp_path):
    """Experts stored one by one, in shards, give the file that the fused ones give."""
    fused, single = (make_checkpoint("moe", tmp_path / name / "moe") for name in ("fused", "single"))
    to_single_experts(single, prefix)
    for folder in (fused, single):
        convert_checkpoint(folder, [Output(folder / "model.gguf", "Q8_0")])
    assert_same_gguf(single / "model.gguf", fused / "model.gguf")


def test_a_unified_text_model_alone(tmp_path):
    """Upstream knows no such class; the 12B's text model is built as the others' are."""
    torch.manual_seed(0)
    model = Gemma4UnifiedForCausalLM(text_config(6, Gemma4UnifiedTextConfig, **GLOBAL_KV))
    plain = Gemma4ForCausalLM(text_config(6, **GLOBAL_KV, max_position_embeddings=262_144))
    plain.load_state_dict(model.state_dict())
    for name, kind in (("unified", model), ("plain", plain)):
        save_checkpoint(kind, tmp_path / name)
        convert_checkpoint(tmp_path / name, [Output(tmp_path / f"{name}.gguf", "BF16")], name="tiny")
    assert_same_gguf(tmp_path / "unified.gguf", tmp_path / "plain.gguf")


def test_other_modalities_are_told(tmp_path):
    done = convert_checkpoint(make_checkpoint("multimodal", tmp_path / "m"), [Output(tmp_path / "m.gguf", "F16")])
    kinds = {name.split(".")[1] for name in done.left_out}
    assert kinds == {"vision_tower", "embed_vision", "audio_tower", "embed_audio"}


CARDS = {
    "google's": """---
license: apache-2.0
license_link: https://ai.google.dev/gemma/docs/gemma_4_license
pipeline_tag: text-generation
library_name: transformers
base_model: google/gemma-4-31B-it
tags: [gemma4, mtp]
language: [en, de]
---
# Gemma 4
""",
    "a fine-tune's": """---
license: other
license_name: gemma
base_model: [google/gemma-4-31B-it, someone/else-7B-v0.2]
base_model_relation: merge
datasets: [someone/some-data]
model_name: Uncensored Gemma
model_creator: Someone
---
""",
    "without front matter": "# Gemma 4, the drafter\n",
}


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", ["gemma-4-31B-it-assistant", "Some-Heretic-Gemma-4-26B-A4B-v2"])
def test_general_keys(name, card, tmp_path):
    """`general.*` from the model card and the folder's name, by upstream's own heuristics."""
    checkpoint = make_checkpoint("assistant", tmp_path / name)
    (checkpoint / "README.md").write_text(CARDS[card])
    convert_checkpoint(checkpoint, [Output(tmp_path / "ours.gguf", "BF16")])
    assert_same_gguf(tmp_path / "ours.gguf", convert_upstream(checkpoint, tmp_path / "upstream.gguf", "bf16"))


@pytest.mark.parametrize(
    ("kind", "defaults"), [(Gemma4TextConfig, DEFAULTS), (Gemma4UnifiedTextConfig, UNIFIED_DEFAULTS)]
)
def test_defaults(kind, defaults):
    """The defaults that a config.json may rely on are transformers' own."""
    theirs = kind().to_dict()
    ours = {key: value for key, value in defaults.items() if key in theirs}
    assert len(ours) >= 10
    ours.pop("per_layer_config")  # theirs is made from global_head_dim
    assert {key: value for key, value in ours.items() if value != (theirs[key] or value)} == {}
