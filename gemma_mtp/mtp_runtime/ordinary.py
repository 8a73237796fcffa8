"""An ordinary smaller model as drafter: llama.cpp's `draft-simple`. It has a KV cache of its own."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_mtp.mtp_runtime.candidates import confidence
from gemma_mtp.mtp_runtime.drafter import Asked, Drafter
from gemma_mtp.mtp_runtime.verifier import Cached
from gemma_mtp.native.llama import Context


class OrdinaryDrafter(Drafter):
    """Continues the text with a model of the target's vocabulary, greedily or as the sampler proposes.

    Its KV cache follows the target's when it is asked: what it drafted itself and what held needs no second pass.
    """

    def __init__(self, context: Context):
        self.context = context
        self.contexts = (context,)
        self._cached = Cached(context)

    def begin(self, prompt: Sequence[int]) -> None:
        """Read the prompt too, which is what an ordinary drafter costs before the first token."""
        self._read(prompt[: self.context.size], outputs=0)

    def draft(self, asked: Asked) -> list[int]:
        """`length` drafts, as far as its context reaches; fewer under `limits.p_min`, none under `limits.shortest`."""
        newest, _, cached, length, sampler, index, limits = asked
        length, tokens = min(length, self.context.size - len(cached)), list[int]()
        text = [*cached, newest]
        while len(tokens) < length:
            self._read([*text, *tokens], outputs=1)
            logits = self.context.logits()[0]
            if limits.p_min and confidence(logits) < limits.p_min:
                break
            tokens.append(sampler.propose(logits, index + len(tokens)))
        return tokens if len(tokens) >= limits.shortest else []

    def _read(self, tokens: Sequence[int], outputs: int) -> None:
        """Bring the KV cache to these tokens. outputs: 1: the last one's logits are wanted."""
        cached = self._cached
        cached.rewind(cached.common(tokens, len(tokens) - outputs))
        while (held := len(cached.tokens)) < len(tokens):
            piece = tokens[held : held + self.context.capacity]
            cached.extend(piece, outputs if held + len(piece) == len(tokens) else 0)
