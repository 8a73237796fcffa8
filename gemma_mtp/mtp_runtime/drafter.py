"""The assistant's side of a round: guess the next tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemma_mtp.mtp_runtime.candidates import confidence
from gemma_mtp.mtp_runtime.sampler import Sampler
from gemma_mtp.native.llama import Context
from gemma_mtp.native.settings import Drafting

#: No draft is ended before its time.
ALL = Drafting()


class Drafter:
    """Drafts tokens with an assistant's context, which reads the target's KV cache and adds nothing to it."""

    def __init__(self, assistant: Context):
        assistant.give_hidden_rows()
        self.context = assistant

    def draft(
        self,
        newest: int,
        hidden: np.ndarray,
        cached: Sequence[int],
        length: int,
        sampler: Sampler,
        index: int,
        limits: Drafting = ALL,
    ) -> list[int]:
        """`length` drafts for the places after `newest`; fewer if the drafter gives one less than `limits.p_min`, and
        none if these are fewer than `limits.shortest`.

        newest: the token that the target chose last. cached: the tokens before it, all that the KV cache holds.
        hidden: float32 [backbone width], the target's row that gave `newest`, that is the row of cached[-1].
        index: the first draft's place in the generation.

        Every step of a round runs at the position of `newest`: the assistant was trained so, because without a KV
        cache of its own it sees nothing between that and the draft (Gemma 4's model documentation in transformers).
        Raises LlamaError.
        """
        context, tokens = self.context, list[int]()
        last, position = newest, len(cached)
        while len(tokens) < length:
            context.decode_draft(last, hidden, position)
            logits = context.logits()[0]
            if limits.p_min and confidence(logits) < limits.p_min:
                return tokens if len(tokens) >= limits.shortest else []
            last = sampler.propose(logits, index + len(tokens))
            tokens.append(last)
            hidden = context.hidden()[0]
        return tokens
