"""Our drafts against the official implementation's, round by round, in float32.

transformers' assisted generation hands its drafter one key too many after a rejection, and in sliding layers the keys
of rejected tokens and of positions outside the window. Its drafter is therefore given what the rule says: the keys and
values of the accepted tokens, and of these the sliding layers the last window - 1 (positions > L - W for L tokens).
Inside such a window its mask hides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drafting_prompts import PROMPTS
from transformers import Gemma4AssistantForCausalLM, Gemma4ForCausalLM
from transformers.generation.candidate_generator import SinglePositionMultiTokenCandidateGenerator
from transformers.utils import ModelOutput

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.mtp_runtime import ContextSettings, MtpEngine
from gemma_mtp.mtp_runtime.sampler import Greedy

GGUFFactory = Callable[[str], Path]
LENGTH = 4
#: Logits closer than this are a tie that rounding decides: ggml's GELU on the CPU goes through a float16 table, and
#: the KV cache is float32 here but attention is accumulated in another order.
TIE = 0.02


@dataclass(frozen=True)
class Round:
    """A round as it was drafted: the tokens in the KV cache, the newest token, the drafts."""

    kept: list[int]
    newest: int
    drafts: list[int]


class OfficialDrafter:
    """transformers' drafting loop on the checkpoints that the GGUFs were made of."""

    def __init__(self, length: int):
        self.target = Gemma4ForCausalLM.from_pretrained(PAIR / "target", dtype=torch.float32).eval()
        assistant = Gemma4AssistantForCausalLM.from_pretrained(PAIR / "assistant", dtype=torch.float32).eval()
        self.window = self.target.config.get_text_config().sliding_window
        self.drafting = SinglePositionMultiTokenCandidateGenerator(
            assistant, self.target.get_input_embeddings(), self.target.generation_config
        )
        self.drafting.num_assistant_tokens = length
        self.drafting.main_model_max_length = 10**6

    @torch.no_grad()
    def read(self, tokens: list[int]) -> Any:
        """The target's hidden rows, keys and values for `tokens`; being causal, a prefix's are a prefix of them."""
        return self.target(
            torch.tensor([tokens]), use_cache=False, output_hidden_states=True, return_shared_kv_states=True
        )

    @torch.no_grad()
    def draft(self, outputs: Any, kept: list[int], newest: int) -> tuple[list[int], np.ndarray]:
        """Drafted tokens and their logits, float32 [length, vocabulary]. `outputs`: those of a text beginning so."""
        first_key = {"sliding_attention": max(0, len(kept) - (self.window - 1)), "full_attention": 0}
        keys_and_values = {
            kind: tuple(part[:, :, first_key[kind] : len(kept)] for part in pair)
            for kind, pair in outputs.shared_kv_states.items()
        }
        prefix = ModelOutput(
            hidden_states=(outputs.hidden_states[-1][:, : len(kept)],), shared_kv_states=keys_and_values
        )
        self.drafting.is_main_model_prefill = True  # the last hidden row is the one to start from
        candidates, logits = self.drafting.get_candidates(
            torch.tensor([[*kept, newest]]), {}, prefix, is_first_iteration=False, n_last_matches=0
        )
        return candidates[0, len(kept) + 1 :].tolist(), logits[0].numpy()


@pytest.fixture(scope="module")
def official() -> OfficialDrafter:
    torch.set_num_threads(1)
    return OfficialDrafter(LENGTH)


def rounds_of(engine: MtpEngine, prompt: list[int], max_tokens: int) -> list[Round]:
    """Rounds of full length of a greedy generation, driven by the engine's own drafter and verifier."""
    verifier, drafter, sampler = engine._verifier, engine._drafter, Greedy(engine.target.end_tokens())
    assert drafter
    newest, emitted, rounds = verifier.prefill(prompt, sampler), 1, []
    while emitted < max_tokens:
        kept = list(verifier.tokens)
        drafts = drafter.draft(newest, verifier.hidden, len(kept), LENGTH, sampler, emitted)
        rounds.append(Round(kept, newest, drafts))
        accepted, newest = verifier.verify(newest, drafts, sampler, emitted)
        emitted += accepted + 1
    return rounds


def differs(official: OfficialDrafter, rounds: list[Round]) -> int:
    """The rounds whose drafts are others than the official ones; the first difference of each must be a near-tie."""
    outputs = official.read(rounds[-1].kept)
    different = 0
    for one in rounds:
        wanted, logits = official.draft(outputs, one.kept, one.newest)
        if one.drafts != wanted:
            different += 1
            step = next(i for i in range(LENGTH) if one.drafts[i] != wanted[i])
            gap = float(logits[step][wanted[step]] - logits[step][one.drafts[step]])
            assert gap < TIE, f"draft {step} after {len(one.kept)} tokens: {one.drafts} but {wanted}, {gap:.4f} apart"
    return different


@pytest.mark.parametrize(
    ("prompt_tokens", "prompts", "max_tokens"),
    [pytest.param(20, 6, 40, id="within-the-window"), pytest.param(150, 3, 80, id="beyond-the-window")],
)
def test_drafts_equal_the_official_implementation(
    target_gguf: GGUFFactory,
    assistant_gguf: GGUFFactory,
    official: OfficialDrafter,
    prompt_tokens: int,
    prompts: int,
    max_tokens: int,
):
    settings = ContextSettings(size=512, threads=1, cache_k="f32", cache_v="f32")
    generations: list[list[Round]] = []
    with MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=settings) as engine:
        for first in range(prompts):
            text = "".join(PROMPTS[first::6])
            generations.append(rounds_of(engine, engine.tokenize(text)[:prompt_tokens], max_tokens))
    different = sum(differs(official, rounds) for rounds in generations)
    count = sum(map(len, generations))
    assert count > 60
    assert different <= 0.01 * count, f"{different} of {count} rounds differ"
