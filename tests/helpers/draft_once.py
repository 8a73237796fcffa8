"""What the real llama.cpp does with two files, without any check of ours in between. Runs in a child process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gemma_mtp.mtp_runtime.drafter import Asked, MtpDrafter
from gemma_mtp.mtp_runtime.sampler import Greedy
from gemma_mtp.mtp_runtime.verifier import Verifier
from gemma_mtp.native.llama import Context, Model
from gemma_mtp.native.settings import ContextSettings, ModelSettings

SETTINGS = ContextSettings(size=256, batch=64, outputs=4, threads=1)
MODEL = ModelSettings(extra_buffers=False)


def load(path: str) -> Iterator[str]:
    with Model(path, MODEL):
        yield "loaded"


def draft(target: str, assistant: str) -> Iterator[list[int]]:
    """A prompt of 80 tokens (longer than the tiny pair's window), then two drafted tokens."""
    with Model(target, MODEL) as model, Model(assistant, MODEL) as drafting:
        context = Context(model, SETTINGS)
        verifier = Verifier(context)
        drafter = MtpDrafter(Context(drafting, replace(SETTINGS, batch=1, outputs=1), target=context))
        prompt = [2, *(262 + number % 8 for number in range(79))]
        newest = verifier.prefill(prompt, Greedy())
        yield drafter.draft(Asked(newest, verifier.hidden, prompt, 2, Greedy(), 1))
