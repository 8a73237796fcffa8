"""The assistant's side of a round: guess the next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gemma_mtp.mtp_runtime.candidates import confidence
from gemma_mtp.mtp_runtime.control import Control, Fixed, Guess
from gemma_mtp.mtp_runtime.sampler import Sampler
from gemma_mtp.native.llama import Context


class Draft(NamedTuple):
    """tokens: to be verified. cut: drafted after them, and not worth it. guesses: of all of these, if wanted."""

    tokens: Sequence[int]
    cut: Sequence[int]
    guesses: Sequence[Guess]

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
        cached: Sequence[int],
        longest: int,
        sampler: Sampler,
        index: int,
        control: Control | None = None,
    ) -> Draft:
        """`longest` drafts for the places after `newest`, or as many of them as `control` plans.

        newest: the token that the target chose last. cached: the tokens before it, all that the KV cache holds.
        hidden: float32 [backbone width], the target's row that gave `newest`, that is the row of cached[-1].
        index: the first draft's place in the generation.

        Every step of a round runs at the position of `newest`: the assistant was trained so, because without a KV
        cache of its own it sees nothing between that and the draft (Gemma 4's model documentation in transformers).
        Raises LlamaError.
        """
        context, control = self.context, control or Fixed(longest)
        wants_guesses, position = control.wants_guesses, len(cached)
        before, last = cached[-1], newest
        tokens: list[int] = []
        guesses: list[Guess] = []
        planned = control.plan(guesses)
        while len(tokens) < min(planned, longest):
            context.decode_draft(last, hidden, position)
            logits = context.logits()[0]
            sure = confidence(logits) if wants_guesses else 0.0  # first, for a sampler may change logits
            token = sampler.propose(logits, index + len(tokens))
            if wants_guesses:
                guesses.append(Guess((before, last, token), sure))
            hidden = context.hidden()[0]
            tokens.append(token)
            before, last = last, token
            planned = control.plan(guesses)
        return Draft(tokens[:planned], tokens[planned:], guesses)
