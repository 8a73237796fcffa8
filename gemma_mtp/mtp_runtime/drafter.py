"""The assistant's side of a round: guess the next tokens."""

from __future__ import annotations

import numpy as np

from gemma_mtp.mtp_runtime.candidates import confidence
from gemma_mtp.mtp_runtime.llama import Context
from gemma_mtp.mtp_runtime.sampler import Sampler


class Drafter:
    """Drafts tokens with an assistant's context, which reads the target's KV cache and adds nothing to it."""

    def __init__(self, assistant: Context):
        assistant.give_hidden_rows()
        self.context = assistant

    def draft(
        self,
        newest: int,
        hidden: np.ndarray,
        position: int,
        length: int,
        sampler: Sampler,
        index: int,
        p_min: float = 0.0,
    ) -> list[int]:
        """Up to `length` drafts for the places after `newest`.

        newest: the token that the target chose last, at `position`; the KV cache ends just before it.
        hidden: float32 [backbone width], the target's row that gave `newest`, that is the row of position - 1.
        index: the first draft's place in the generation. p_min: stop where the drafter is less confident than this.

        Every step of a round runs at the same position: the assistant was trained so, because without a KV cache of
        its own it sees nothing between `position` and the draft (Gemma 4's model documentation in transformers).
        Raises LlamaError.
        """
        context, drafts, token = self.context, [], newest
        for step in range(length):
            context.decode_draft(token, hidden, position)
            logits = context.logits()[0]
            if p_min > 0 and confidence(logits) < p_min:
                break
            token = sampler.propose(logits, index + step)
            hidden = context.hidden()[0]
            drafts.append(token)
        return drafts
