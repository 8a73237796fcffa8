"""How makers lay the config.json of a DFlash drafter out, as a table; and which drafters of other kinds there are.

Sources: llama.cpp's converter (conversion/qwen.py, `DFlashModel`) for z-lab's; vllm-project/speculators of August 2026
(models/dflash and convert/dflash, which makes its own layout of z-lab's) and vLLM's reading of it
(transformers_utils/configs/speculators/algos.py) for RedHatAI's; deepseek-ai/DeepSpec for DeepSeek's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gemma_mtp.errors import CheckpointError
from gemma_mtp.model.config import ConfigFields


@dataclass(frozen=True)
class Layout:
    """One way of writing down what a drafter is. Its fields stand at the top or in `nested`.

    maker: for people. nested: the object that no other layout has. target_layers: the field that lists the target's
    layers. first: what that calls the output of the first one. defaults: of fields that need not be there.
    scaled: whether it was trained with embeddings times the root of the width, as its target has them.
    one_way: the field which, if false, lets sliding layers see what is before a place alone; of which llama.cpp knows
    but one kind for all layers. copies: tensors that are the target's, which llama.cpp takes from there.
    """

    maker: str
    nested: str
    target_layers: str
    first: int
    defaults: Mapping[str, Any]
    scaled: bool
    one_way: str = ""
    copies: tuple[str, ...] = ()

    def fields(self, config: Mapping[str, Any], path: Path) -> ConfigFields:
        return ConfigFields({**config, **config[self.nested]}, self.defaults, path)


HEAD, EMBEDDING, CHOSEN = "lm_head.weight", "embed_tokens.weight", "t2d"
COMMON: Mapping[str, Any] = MappingProxyType({"rms_norm_eps": 1e-6, "hidden_act": "silu", "attention_bias": False})

LAYOUTS = (
    Layout("z-lab", "dflash_config", "target_layer_ids", 0, {**COMMON, "block_size": 16}, scaled=True),
    # Its trainer looks embeddings up as they are stored, and keeps them and the head as they were.
    Layout(
        "RedHatAI (speculators)",
        "transformer_layer_config",
        "aux_hidden_state_layer_ids",
        1,
        {
            **COMMON,
            # Of speculators' own record, then of transformers' Qwen3Config: versions before 5 leave out what equals it.
            "block_size": 8,
            "draft_vocab_size": 32_000,
            "sliding_window_non_causal": False,
            "sample_from_anchor": False,
            "head_dim": 128,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "num_hidden_layers": 32,
            "hidden_size": 4096,
            "intermediate_size": 22_016,
            "max_position_embeddings": 32_768,
            "rope_theta": 10_000.0,
        },
        scaled=False,
        one_way="sliding_window_non_causal",
        copies=(EMBEDDING, CHOSEN),
    ),
)

#: Class -> what such a checkpoint is, and who converts it: drafters that this family has no tensors for.
DSPARK = "a DSpark drafter in {}'s layout"
EAGLE3 = "an EAGLE3 head"
DFLASH2 = "a DFlash2 drafter"
CONVERTER = "llama.cpp's convert_hf_to_gguf.py, with --target-model-dir"
OTHER_DRAFTERS: Mapping[str, str] = MappingProxyType(
    {
        "DFlash2DraftModel": DFLASH2,
        "DFlash2Speculator": DFLASH2,
        "DSparkSpeculator": DSPARK.format("RedHatAI"),
        "DSparkDraftModel": DSPARK.format("RedHatAI"),
        "Qwen3DSparkModel": DSPARK.format("DeepSeek"),
        # Its "dflash" checkpoint is the same class without a Markov head, and drafts from the newest token's place on.
        "Gemma4DSparkModel": DSPARK.format("DeepSeek"),
        "Eagle3Speculator": EAGLE3,
        "Eagle3DraftModel": EAGLE3,
        "Eagle3LlamaForCausalLM": EAGLE3,
        "LlamaForCausalLMEagle3": EAGLE3,
    }
)


def layout_of(config: Mapping[str, Any], path: Path) -> Layout:
    """The layout of a drafter's config.json. Raises CheckpointError: it is none of those that are known."""
    found = next((one for one in LAYOUTS if isinstance(config.get(one.nested), Mapping)), None)
    if found is None:
        names = " nor ".join(f"{one.nested} ({one.maker})" for one in LAYOUTS)
        raise CheckpointError(
            f"it has neither an object {names}", where=path, hint="this is no layout of a DFlash drafter that is known"
        )
    return found


def refuse_other_drafters(name: str, path: Path) -> None:
    """Raises CheckpointError for the class of a drafter that is known and not converted here."""
    if name in OTHER_DRAFTERS:
        raise CheckpointError(
            f"the architecture is {name}: this is {OTHER_DRAFTERS[name]}, which is not converted here",
            where=path,
            hint=f"as far as it is converted at all, {CONVERTER} does; how its file is measured: docs/drafters.md",
        )
