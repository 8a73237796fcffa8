"""Generations that run to their end."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_mtp.mtp_runtime import Generation, MtpEngine


def finished(engine: MtpEngine, prompt: str | Sequence[int], **options: object) -> Generation:
    generation = engine.generate(prompt, **{"max_tokens": 60, "ignore_end": True, **options})
    for _ in generation:
        pass
    return generation
