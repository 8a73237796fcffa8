"""The assistant's side of a round: guess the next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gemma_mtp.mtp_runtime.candidates import confidence
from gemma_mtp.mtp_runtime.control import Control, Fixed
from gemma_mtp.mtp_runtime.llama import Context
from gemma_mtp.mtp_runtime.sampler import Sampler


class Draft(NamedTuple):
    """tokens: to be verified. cut: drafted after them, and not worth it. confidences: of all of these, if wanted."""

    tokens: Sequence[int]
    cut: Sequence[int]
    confidences: Sequence[float]

    def right(self, accepted: int, newest: int) -> int:
        """How many drafts are known to be what the target says, which accepted so many and then said `newest`."""
        return accepted + (accepted == len(self.tokens) and self.cut[:1] == [newest])


NOTHING = Draft((), (), ())


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
        longest: int,
        sampler: Sampler,
        index: int,
        control: Control | None = None,
    ) -> Draft:
        """`longest` drafts for the places after `newest`, or as many of them as `control` plans.

        newest: the token that the target chose last, at `position`; the KV cache ends just before it.
        hidden: float32 [backbone width], the target's row that gave `newest`, that is the row of position - 1.
        index: the first draft's place in the generation.

        Every step of a round runs at the same position: the assistant was trained so, because without a KV cache of
        its own it sees nothing between `position` and the draft (Gemma 4's model documentation in transformers).
        Raises LlamaError.
        """
        context, control, token = self.context, control or Fixed(longest), newest
        tokens: list[int] = []
        confidences: list[float] = []
        planned = control.plan(confidences)
        while len(tokens) < min(planned, longest):
            context.decode_draft(token, hidden, position)
            logits = context.logits()[0]
            if control.wants_confidence:
                confidences.append(confidence(logits))
            token = sampler.propose(logits, index + len(tokens))
            hidden = context.hidden()[0]
            tokens.append(token)
            planned = control.plan(confidences)
        return Draft(tokens[:planned], tokens[planned:], confidences)
