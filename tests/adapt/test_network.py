"""The assistant in PyTorch against transformers' and llama.cpp's."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.checkpoint_families import make_checkpoint

torch = pytest.importorskip("torch")

from gemma_mtp.adapt.network import build  # noqa: E402
from gemma_mtp.adapt.rounds import masks  # noqa: E402
from gemma_mtp.adapt.weights import open_weights  # noqa: E402
from gemma_mtp.model.part import Part  # noqa: E402

TYPES = {"sliding": "sliding_attention", "full": "full_attention"}


@pytest.mark.parametrize("family", ["assistant", "centroid-assistant", "unified-assistant"])
def test_it_computes_what_the_official_implementation_computes(family: str, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    folder = make_checkpoint(family, tmp_path / family, torch.float32)
    official = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with open_weights(folder, Part.ASSISTANT) as weights:
        network, model = build(weights), weights.model
    torch.manual_seed(1)
    length, positions = 100, torch.tensor([1, 5, 64, 65, 99])
    fed = torch.randn(2, len(positions), 2 * model.backbone)
    cache = {
        kind: tuple(torch.randn(2, model.kv_heads(layer), length, model.head_dim(layer)) for _ in "kv")
        for kind, layer in (("sliding", 0), ("full", model.layers - 1))
    }
    seen = masks(length, positions, model.sliding_window)
    with torch.no_grad():
        y, h = network.step(fed, positions, seen, cache)
        wanted = official.model(
            inputs_embeds=official.pre_projection(fed),
            attention_mask={TYPES[kind]: mask for kind, mask in seen.items()},
            position_ids=positions[None],
            shared_kv_states={TYPES[kind]: cached for kind, cached in cache.items()},
            use_cache=False,
        ).last_hidden_state
        assert torch.allclose(y, wanted, atol=1e-4)
        assert torch.allclose(h, official.post_projection(wanted), atol=1e-4)
        assert torch.allclose(y @ network.head.T, official.lm_head(wanted), atol=1e-4)
