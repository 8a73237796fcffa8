"""The target's side of a round: run the drafts in one batch, keep what it would have said itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime.sampler import Sampler
from gemma_mtp.native.llama import Context
from gemma_mtp.native.settings import more_context

#: Tokens to generate that a context should have room for beside its prompt.
ROOM = 256


class Verdict(NamedTuple):
    """accepted: how many drafts hold. newest: the target's own token after them, which is not yet in the KV cache."""

    accepted: int
    newest: int


class Verifier:
    """The target's context and what is in its KV cache.

    tokens: the tokens in the KV cache, at positions 0 .. len(tokens) - 1. The newest token is never among them.
    hidden: float32 [width], the target's final hidden row of the last of `tokens`: what the drafter starts from.
    reused: how many tokens of the last prompt were in the KV cache already.
    """

    def __init__(self, target: Context):
        target.give_hidden_rows()
        self.context = target
        self.tokens: list[int] = []
        self.reused = 0
        self.hidden = np.zeros(target.model.output_width, np.float32)

    @property
    def room(self) -> int:
        """Tokens that still fit into the KV cache."""
        return self.context.size - len(self.tokens)

    def prefill(self, prompt: Sequence[int], sampler: Sampler, *, reuse: bool = False) -> int:
        """Run the prompt and choose the first token. `reuse`: keep what the KV cache holds of the prompt already.

        Raises UsageError (empty, or longer than the context), LlamaError.
        """
        self._check(prompt)
        self.rewind(self._common_prefix(prompt) if reuse else 0)
        self.reused = len(self.tokens)
        for start in range(self.reused, len(prompt), self.context.capacity):
            piece = prompt[start : start + self.context.capacity]
            last = start + len(piece) == len(prompt)
            self._extend(piece, outputs=1 if last else 0)
        self.hidden[:] = self.context.hidden()[0]
        return sampler.choose(self.context.logits()[0], 0)

    def verify(self, newest: int, drafts: Sequence[int], sampler: Sampler, index: int) -> Verdict:
        """Run `newest` and `drafts` in one batch; accept drafts until the target chooses otherwise.

        index: the first draft's place in the generation. Afterwards the KV cache ends after the last accepted draft.
        Raises LlamaError.
        """
        start, rows = len(self.tokens), 1 + len(drafts)
        self._extend([newest, *drafts], outputs=rows)
        logits = self.context.logits()
        for accepted, draft in enumerate((*drafts, None)):
            token = sampler.choose(logits[accepted], index + accepted, draft)
            if token != draft:
                break
        self.hidden[:] = self.context.hidden()[accepted]
        self.rewind(start + 1 + accepted)
        return Verdict(accepted, token)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        if length < len(self.tokens):
            self.context.cut(length)
            del self.tokens[length:]

    def _extend(self, tokens: Sequence[int], outputs: int) -> None:
        try:
            self.context.decode(tokens, len(self.tokens), outputs)
        except Exception:
            if not self.context.broken:
                self.context.cut(len(self.tokens))  # a failed batch may have left some of its tokens
            raise
        self.tokens += tokens

    def _check(self, prompt: Sequence[int]) -> None:
        if not prompt:
            raise UsageError("the prompt is empty", hint="give at least one token")
        trained = self.context.model.trained_context
        if len(prompt) > self.context.size:
            raise UsageError(
                f"the prompt has {len(prompt):,} tokens, the context has room for {self.context.size:,}",
                hint=f"{more_context(self.context.size, trained, len(prompt) + ROOM)}, or a shorter prompt",
            )
        outside = [token for token in prompt if not 0 <= token < self.context.model.vocabulary]
        if outside:
            raise UsageError(
                f"the prompt has token {outside[0]}, the vocabulary ends at {self.context.model.vocabulary - 1}"
            )

    def _common_prefix(self, prompt: Sequence[int]) -> int:
        """How much of the KV cache serves this prompt. Its last token is run again: its logits are needed.

        Sliding layers forget what is behind their window: a cut far back would leave a gap, so nothing is kept then.
        """
        limit = min(len(self.tokens), len(prompt) - 1)
        same = next((i for i in range(limit) if self.tokens[i] != prompt[i]), limit)
        return same if same == len(self.tokens) or self.context.holds_window_before(same) else 0
