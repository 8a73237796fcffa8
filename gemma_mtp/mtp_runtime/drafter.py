"""The drafting side of a round: guess the next tokens. `Drafter` is what the loop knows of whoever does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gemma_mtp.mtp_runtime.candidates import confidence
from gemma_mtp.mtp_runtime.sampler import Sampler
from gemma_mtp.native.llama import Context
from gemma_mtp.native.settings import Drafting

#: No draft is ended before its time.
ALL = Drafting()


class Asked(NamedTuple):
    """What a draft is asked for: at most `length` tokens for the places after `newest`.

    newest: the token that the target chose last. hidden: float32 [backbone width], the target's row that gave it, that
    is the row of cached[-1]. cached: the tokens before it, all that the KV cache holds. place: of the first draft
    in the generation. limits: where a model's draft ends.
    """

    newest: int
    hidden: np.ndarray
    cached: Sequence[int]
    length: int
    sampler: Sampler
    place: int
    limits: Drafting = ALL


class Drafter:
    """Whoever guesses tokens. The loop tells it of the prompt, asks it for drafts, and tells it how many held.

    contexts: those that it decodes with.
    """

    contexts: tuple[Context, ...] = ()

    def begin(self, prompt: Sequence[int]) -> None:
        """A generation begins: the target has the prompt in its KV cache. Raises LlamaError."""

    def draft(self, asked: Asked) -> list[int]:
        """At most so many drafts as are asked for; fewer, or none, where it knows no better. Raises LlamaError."""
        raise NotImplementedError

    def learn(self, accepted: int) -> None:
        """So many tokens of the last draft, which was not empty, held."""


class MtpDrafter(Drafter):
    """Drafts tokens with an assistant's context, which reads the target's KV cache and adds nothing to it."""

    def __init__(self, assistant: Context):
        assistant.give_hidden_rows()
        self.context = assistant
        self.contexts = (assistant,)

    def draft(self, asked: Asked) -> list[int]:
        """`length` drafts; fewer if the drafter gives one less than `limits.p_min`, and none if these are fewer than
        `limits.shortest`.

        Every step of a round runs at the position of `newest`: the assistant was trained so, because without a KV
        cache of its own it sees nothing between that and the draft (Gemma 4's model documentation in transformers).
        """
        context, tokens = self.context, list[int]()
        last, hidden, cached, length, sampler, index, limits = asked
        position = len(cached)
        while len(tokens) < length:
            context.decode_draft(last, hidden, position)
            logits = context.logits()[0]
            if limits.p_min and confidence(logits) < limits.p_min:
                return tokens if len(tokens) >= limits.shortest else []
            last = sampler.propose(logits, index + len(tokens))
            tokens.append(last)
            hidden = context.hidden()[0]
        return tokens


class Chain(Drafter):
    """Several drafters: the first that knows anything drafts, as in llama.cpp's server.

    parts: in the order in which they are asked, each with its longest draft.
    """

    def __init__(self, parts: Sequence[tuple[Drafter, int]]):
        self._parts = tuple(parts)
        self._last = self._parts[0][0]
        self.contexts = tuple(context for drafter, _ in parts for context in drafter.contexts)

    def begin(self, prompt: Sequence[int]) -> None:
        for drafter, _ in self._parts:
            drafter.begin(prompt)

    def draft(self, asked: Asked) -> list[int]:
        for drafter, longest in self._parts:
            tokens = drafter.draft(asked._replace(length=min(asked.length, longest)))
            if tokens:
                self._last = drafter
                return tokens
        return []

    def learn(self, accepted: int) -> None:
        self._last.learn(accepted)
