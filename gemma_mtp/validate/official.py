"""The official implementation's drafts for the tokens that llama.cpp had, in float32. Runs in a child process.

transformers' assisted generation is no exact oracle: it hands its drafter one key too many after a rejection, and in
sliding layers the keys of rejected tokens and of positions outside the window. Its drafter is therefore given what the
rule says: the keys and values of the accepted tokens, and of these the sliding layers the last window - 1 (positions
> L - W for L tokens). Inside such a window its mask hides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.generation.candidate_generator import SinglePositionMultiTokenCandidateGenerator
from transformers.utils import ModelOutput

from gemma_mtp.errors import CheckpointError
from gemma_mtp.model.config import read_json
from gemma_mtp.mtp_runtime.engine import MtpEngine
from gemma_mtp.mtp_runtime.generate import Round
from gemma_mtp.mtp_runtime.sampler import Greedy
from gemma_mtp.validate.comparison import Job, ReferenceComparison, ReferenceJob
from gemma_mtp.validate.decoding import open_engine, prompt_of

Logits = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drafted:
    """A round as llama.cpp drafted it. logits: float32 [drafts, vocabulary], the drafter's."""

    round: Round
    logits: Logits


class OfficialDrafter:
    """transformers' drafting loop on the checkpoints that the GGUFs were made of.

    length: of the drafts. vocabulary: tokens that the head scores; a centroid head scores some of them only.
    """

    def __init__(self, target: str | Path, assistant: str | Path, length: int):
        self.target = load_official(Path(target))
        drafter = load_official(Path(assistant))
        self.window = int(self.target.config.get_text_config().sliding_window)
        self.scores_all = not getattr(drafter.config, "use_ordered_embeddings", False)
        self.drafting = SinglePositionMultiTokenCandidateGenerator(
            drafter, self.target.get_input_embeddings(), self.target.generation_config
        )
        self.drafting.num_assistant_tokens = length
        self.drafting.main_model_max_length = 10**9

    def read(self, tokens: list[int]) -> Any:
        """The target's hidden rows, keys and values for `tokens`; being causal, a prefix's are a prefix of them."""
        with torch.no_grad():
            return self.target(
                torch.tensor([tokens]), use_cache=False, output_hidden_states=True, return_shared_kv_states=True
            )

    def draft(self, outputs: Any, kept: list[int], newest: int) -> tuple[list[int], Logits]:
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
        with torch.no_grad():
            candidates, logits = self.drafting.get_candidates(
                torch.tensor([[*kept, newest]]), {}, prefix, is_first_iteration=False, n_last_matches=0
            )
        return candidates[0, len(kept) + 1 :].tolist(), logits[0].numpy()

    def scored(self, logits: Logits) -> Logits:
        """Which of a step's official logits are scores: a centroid head fills the rest with their minimum."""
        return np.ones(logits.shape, bool) if self.scores_all else logits > logits.min()


def load_official(folder: Path) -> Any:
    """The checkpoint's own class, in float32. Raises CheckpointError."""
    try:
        name = read_json(folder / "config.json")["architectures"][0]
        return getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    except MemoryError:
        raise
    except Exception as error:  # whatever transformers, torch and safetensors have to say
        raise CheckpointError(
            f"transformers {transformers.__version__} cannot load this checkpoint: {str(error)[:300]}",
            where=folder,
            hint="name the original checkpoints; or try transformers 5.22.2",
        ) from error


class _RecordingSampler(Greedy):
    """Greedy, with the drafter's logits of the present round kept."""

    def __init__(self, banned: list[int]):
        super().__init__(banned)
        self.proposed: list[Logits] = []

    def propose(self, logits: Logits, index: int) -> int:
        self.proposed.append(logits.copy())
        return super().propose(logits, index)

    def taken(self) -> Logits:
        """Those of the round that has ended, float32 [drafts, vocabulary]."""
        logits, self.proposed = np.stack(self.proposed), []
        return logits


def rounds_of(engine: MtpEngine, prompt: list[int], tokens: int, length: int) -> list[Drafted]:
    """Rounds of `length` drafts of a greedy generation of `tokens` tokens in llama.cpp."""
    sampler, rounds = _RecordingSampler(engine.target.end_tokens()), list[Drafted]()
    generation = engine.generate(
        prompt,
        max_tokens=tokens + length,  # so that the last round's draft is not shorter than the others
        draft_max=length,
        sampler=sampler,
        on_round=lambda round: rounds.append(Drafted(round, sampler.taken())),
    )
    for _ in islice(generation, tokens):
        pass
    generation.close()
    return rounds


def compare_rounds(official: OfficialDrafter, kind: str, rounds: list[Drafted], tie: float) -> ReferenceComparison:
    """What the official implementation drafts from the same tokens, and how far apart the two are."""
    outputs = official.read(list(rounds[-1].round.kept))
    equal, ties, unscored, compared, difference, widest = 0, 0, 0, 0, 0.0, 0.0
    for one in rounds:
        drafts = one.round.drafts
        wanted, logits = official.draft(outputs, list(one.round.kept), one.round.newest)
        same = next((step for step in range(len(wanted)) if drafts[step] != wanted[step]), len(wanted))
        for step in range(min(same + 1, len(wanted))):  # the first that differs started from the same drafts, too
            scored = official.scored(logits[step])
            difference = max(difference, float(np.abs(logits[step] - one.logits[step])[scored].max()))
            compared += 1
        if same == len(wanted):
            equal += 1
        elif not scored[drafts[same]]:
            unscored += 1
        else:
            gap = float(logits[same][wanted[same]] - logits[same][drafts[same]])
            widest, ties = max(widest, gap), ties + (gap < tie)
    return ReferenceComparison(kind, len(rounds), equal, ties, unscored, widest, compared, difference)


def comparisons(job: ReferenceJob) -> Iterator[ReferenceComparison]:
    """A comparison for each prompt. Raises CheckpointError, LlamaError, UsageError."""
    transformers.utils.logging.set_verbosity_error()
    official = OfficialDrafter(job.target, job.assistant, job.pair.draft_max)
    if job.pair.context.threads:
        torch.set_num_threads(job.pair.context.threads)
    with open_engine(job.pair) as engine:
        for kind, text in job.pair.prompts.items():
            yield _compared(official, engine, kind, prompt_of(engine, text, job.pair), job.pair, job.tie)


def _compared(
    official: OfficialDrafter, engine: MtpEngine, kind: str, prompt: list[int], job: Job, tie: float
) -> ReferenceComparison:
    rounds = rounds_of(engine, prompt, job.tokens, job.draft_max)
    if len(rounds[0].logits[0]) != official.target.get_input_embeddings().weight.shape[0]:
        raise CheckpointError("the checkpoint has another vocabulary than the GGUF", where=official.target.name_or_path)
    return compare_rounds(official, kind, rounds, tie)
