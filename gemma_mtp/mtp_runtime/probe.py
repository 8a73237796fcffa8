"""Rounds that are run to know what they cost, before the first that counts."""

from __future__ import annotations

from time import perf_counter

from gemma_mtp.mtp_runtime.drafter import MtpDrafter
from gemma_mtp.mtp_runtime.experience import PROBED, Experience, measured
from gemma_mtp.mtp_runtime.verifier import Verifier


def probe(verifier: Verifier, drafter: MtpDrafter, newest: int, longest: int) -> Experience:
    """Costs of lengths up to `longest`. The KV cache holds the prompt, `newest` was chosen after it; nothing of that is
    changed. Raises LlamaError."""
    target, assistant, position = verifier.context, drafter.context, len(verifier.tokens)

    def seconds(length: int) -> float:
        start = perf_counter()
        for _ in range(length):
            assistant.decode_draft(newest, verifier.hidden, position)
        target.decode([newest] * (length + 1), position, length + 1)
        target.cut(position)
        return perf_counter() - start

    return measured(seconds, [one for one in PROBED if one <= min(longest, verifier.room - 1)])
