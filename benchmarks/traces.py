"""Records for benchmarks/auto.py how many of the drafter's tokens hold at each place of the built-in texts.

    python benchmarks/traces.py

On the demo pair, greedily. Writes benchmarks/traces.json: by category a digit for each place, 0 to LONGEST.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.mtp_runtime.control import Fixed
from gemma_mtp.mtp_runtime.drafter import Asked, MtpDrafter
from gemma_mtp.mtp_runtime.generate import generate
from gemma_mtp.mtp_runtime.prompts import BUILT_IN
from gemma_mtp.mtp_runtime.sampler import make_sampler
from gemma_mtp.mtp_runtime.verifier import Verifier
from gemma_mtp.native.backend import settings_for_this_machine
from gemma_mtp.native.llama import Context, Model
from gemma_mtp.native.settings import ContextSettings, Drafting
from gemma_mtp.native.stats import Statistics

TRACES = Path(__file__).with_name("traces.json")
TOKENS, LONGEST = 256, 8


class Recording(MtpDrafter):
    """Drafts, remembers what it drafted, and gives nothing: so there is a draft for each place of a text."""

    def __init__(self, assistant: Context):
        super().__init__(assistant)
        self.drafts: list[list[int]] = []

    def draft(self, asked: Asked) -> list[int]:
        self.drafts.append(super().draft(asked))
        return []


def record(target: Model, verifier: Verifier, assistant: Context, text: str) -> str:
    prompt, drafter = target.tokenize(text), Recording(assistant)
    sampler, length = make_sampler(None, prompt, target.end_tokens()), TOKENS + LONGEST + 1
    options = {"max_tokens": length, "control": Fixed(LONGEST), "drafting": Drafting(LONGEST)}
    tokens = [step.token for step in generate(verifier, drafter, sampler, prompt, Statistics(), **options)]
    return "".join(str(held(draft, tokens[place + 1 :])) for place, draft in enumerate(drafter.drafts[:TOKENS]))


def held(draft: list[int], tokens: list[int]) -> int:
    return next((place for place, token in enumerate(draft) if token != tokens[place]), len(draft))


def main() -> None:
    settings = settings_for_this_machine()
    with tempfile.TemporaryDirectory() as name:
        files = Path(name, "target.gguf"), Path(name, "assistant.gguf")
        for folder, file in zip(("target", "assistant"), files, strict=True):
            convert_checkpoint(PAIR / folder, [Output(file, "BF16")])
        with Model(files[0], settings) as target, Model(files[1], settings.for_drafter()) as drafter:
            room = ContextSettings(size=1024)
            with Context(target, room) as context, Context(drafter, room, context) as assistant:
                verifier = Verifier(context)
                found = {name: record(target, verifier, assistant, text) for name, text in BUILT_IN.items()}
    TRACES.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name, digits in found.items():
        print(f"{name:12s} {sum(map(int, digits)) / len(digits):.2f} of {LONGEST} drafts hold")


if __name__ == "__main__":
    main()
