"""The loop: draft, verify, accept, again."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from gemma_mtp.mtp_runtime.control import Control, Round
from gemma_mtp.mtp_runtime.drafter import NOTHING, Drafter
from gemma_mtp.mtp_runtime.sampler import Sampler
from gemma_mtp.mtp_runtime.verifier import Verifier
from gemma_mtp.native.stats import Statistics


class Step(NamedTuple):
    """A generated token, and whether it was drafted (or chosen by the target without a draft)."""

    token: int
    drafted: bool


def generate(
    verifier: Verifier,
    drafter: Drafter | None,
    sampler: Sampler,
    prompt: Sequence[int],
    statistics: Statistics,
    *,
    max_tokens: int,
    control: Control,
    reuse: bool = False,
) -> Generator[Step, None, None]:
    """Generated tokens, one by one, until `max_tokens` or a full context; without a drafter plain decoding.

    Invariant at the head of the loop: with p tokens in the target's KV cache (positions 0 .. p-1), `newest` has been
    emitted, belongs at position p and is not in the cache; `verifier.hidden` is the row of p-1, the one that gave
    `newest`. A round that accepts a of k drafts emits a + 1 tokens, and p grows by a + 1.

    Stopping early is fine at any token: the KV cache is cut to what was emitted. Raises UsageError, LlamaError.
    """
    emitted = 0
    try:
        with statistics.timed("prompt_seconds"):
            newest = verifier.prefill(prompt, sampler, reuse=reuse)
        statistics.prompt_tokens, statistics.reused_tokens = len(prompt), verifier.reused
        if not verifier.reused:
            control.begin()
        statistics.tokens = emitted = 1
        yield Step(newest, drafted=False)
        while emitted < max_tokens and verifier.room:
            # A round emits at most one token more than it drafts, and needs the room to verify them all.
            longest = min(control.draft_max, max_tokens - emitted - 1, verifier.room - 1) if drafter else 0
            draft = NOTHING
            with statistics.timed("draft_seconds") as drafting:
                if drafter and longest > 0:
                    draft = drafter.draft(newest, verifier.hidden, verifier.tokens, longest, sampler, emitted, control)
            with statistics.timed("verify_seconds") as verifying:
                accepted, newest = verifier.verify(newest, draft.tokens, sampler, emitted)
            statistics.count_round(len(draft.tokens), accepted, len(draft.cut))
            right = draft.right(accepted, newest)
            control.learn(Round(draft.guesses, len(draft.tokens), accepted, right, drafting.seconds, verifying.seconds))
            for place, token in enumerate((*draft.tokens[:accepted], newest)):
                statistics.tokens = emitted = emitted + 1
                yield Step(token, drafted=place < accepted)
    finally:
        verifier.rewind(len(prompt) + emitted)
