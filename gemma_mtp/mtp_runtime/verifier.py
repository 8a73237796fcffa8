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


class Cached:
    """A context, and the tokens in its KV cache: at positions 0 .. len(tokens) - 1."""

    def __init__(self, context: Context):
        self.context = context
        self.tokens: list[int] = []

    def extend(self, tokens: Sequence[int], outputs: int) -> None:
        """Run tokens behind those that are there. Raises LlamaError; the KV cache is then as before, if it still is."""
        try:
            self.context.decode(tokens, len(self.tokens), outputs)
        except Exception:
            if not self.context.broken:
                self.context.cut(len(self.tokens))  # a failed batch may have left some of its tokens
            raise
        self.tokens += tokens

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        if length < len(self.tokens):
            self.context.cut(length)
            del self.tokens[length:]

    def common(self, tokens: Sequence[int], limit: int) -> int:
        """How much of the KV cache, `limit` at most, serves these tokens.

        Sliding layers forget what is behind their window: a cut far back would leave a gap, so nothing is kept then.
        """
        limit = min(len(self.tokens), limit)
        same = next((place for place in range(limit) if self.tokens[place] != tokens[place]), limit)
        return same if same == len(self.tokens) or self.context.holds_window_before(same) else 0


class Verifier(Cached):
    """The target's context and what is in its KV cache. The newest token is never among `tokens`.

    hidden: float32 [width], the target's final hidden row of the last of `tokens`: what the drafter starts from.
    reused: how many tokens of the last prompt were in the KV cache already.
    """

    def __init__(self, target: Context):
        super().__init__(target)
        target.give_hidden_rows()
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
        # The last token is run again in any case: its logits are needed.
        self.rewind(self.common(prompt, len(prompt) - 1) if reuse else 0)
        self.reused = len(self.tokens)
        for start in range(self.reused, len(prompt), self.context.capacity):
            piece = prompt[start : start + self.context.capacity]
            last = start + len(piece) == len(prompt)
            self.extend(piece, outputs=1 if last else 0)
        self.hidden[:] = self.context.hidden()[0]
        return sampler.choose(self.context.logits()[0], 0)

    def verify(self, newest: int, drafts: Sequence[int], sampler: Sampler, index: int) -> Verdict:
        """Run `newest` and `drafts` in one batch; accept drafts until the target chooses otherwise.

        index: the first draft's place in the generation. Afterwards the KV cache ends after the last accepted draft.
        Raises LlamaError.
        """
        start, rows = len(self.tokens), 1 + len(drafts)
        self.extend([newest, *drafts], outputs=rows)
        logits = self.context.logits()
        for accepted, draft in enumerate((*drafts, None)):
            token = sampler.choose(logits[accepted], index + accepted, draft)
            if token != draft:
                break
        self.hidden[:] = self.context.hidden()[accepted]
        self.rewind(start + 1 + accepted)
        return Verdict(accepted, token)

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
