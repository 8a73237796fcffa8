"""The loop: draft, verify, accept, again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from gemma_mtp.mtp_runtime.control import Auto, Control
from gemma_mtp.mtp_runtime.drafter import Asked, Drafter, MtpDrafter
from gemma_mtp.mtp_runtime.probe import probe
from gemma_mtp.mtp_runtime.sampler import Sampler
from gemma_mtp.mtp_runtime.verifier import Verifier
from gemma_mtp.native.settings import Drafting
from gemma_mtp.native.stats import Statistics


class Step(NamedTuple):
    """A generated token, and whether it was drafted (or chosen by the target without a draft)."""

    token: int
    drafted: bool


class Round(NamedTuple):
    """A round that was verified.

    kept: the tokens in the target's KV cache when it began. newest: the token chosen after them. drafts: those after
    that, of which the first `accepted` hold.
    """

    kept: tuple[int, ...]
    newest: int
    drafts: tuple[int, ...]
    accepted: int


def generate(
    verifier: Verifier,
    drafter: Drafter | None,
    sampler: Sampler,
    prompt: Sequence[int],
    statistics: Statistics,
    *,
    max_tokens: int,
    control: Control,
    drafting: Drafting,
    reuse: bool = False,
    on_round: Callable[[Round], None] | None = None,
) -> Generator[Step, None, None]:
    """Generated tokens, one by one, until `max_tokens` or a full context; without a drafter plain decoding.

    control: says how long each round's draft is. drafting: where a draft ends earlier, see `Asked`. on_round:
    hears of each round, before its tokens.

    Invariant at the head of the loop: with p tokens in the target's KV cache (positions 0 .. p-1), `newest` has been
    emitted, belongs at position p and is not in the cache; `verifier.hidden` is the row of p-1, the one that gave
    `newest`. A round that accepts a of k drafts emits a + 1 tokens, and p grows by a + 1.

    Stopping early is fine at any token: the KV cache is cut to what was emitted. Raises UsageError, LlamaError.
    """
    emitted = 0
    try:
        with statistics.timed("prompt_seconds"):
            newest = verifier.prefill(prompt, sampler, reuse=reuse)
            if drafter:
                drafter.begin(prompt)
        if isinstance(drafter, MtpDrafter) and isinstance(control, Auto) and not control.knows and max_tokens > 1:
            control.begin(probe(verifier, drafter, newest, control.draft_max))
        statistics.prompt_tokens, statistics.reused_tokens = len(prompt), verifier.reused
        statistics.tokens = emitted = 1
        yield Step(newest, drafted=False)
        while emitted < max_tokens and verifier.room:
            # A round emits at most one token more than it drafts, and needs the room to verify them all.
            planned = control.plan(min(max_tokens - emitted, verifier.room) - 1) if drafter else 0
            drafts: list[int] = []
            with statistics.timed("draft_seconds") as draft_watch:
                if drafter and planned:
                    where = newest, verifier.hidden, verifier.tokens
                    drafts = drafter.draft(Asked(*where, planned, sampler, emitted, drafting))
            began, before = len(verifier.tokens), newest
            with statistics.timed("verify_seconds") as verify_watch:
                accepted, newest = verifier.verify(newest, drafts, sampler, emitted)
            control.learn(accepted, draft_watch.seconds + verify_watch.seconds)
            if drafter and drafts:
                drafter.learn(accepted)
            statistics.count_round(len(drafts), accepted)
            if on_round:
                on_round(Round(tuple(verifier.tokens[:began]), before, tuple(drafts), accepted))
            for place, token in enumerate((*drafts[:accepted], newest)):
                statistics.tokens = emitted = emitted + 1
                yield Step(token, drafted=place < accepted)
    finally:
        verifier.rewind(len(prompt) + emitted)
