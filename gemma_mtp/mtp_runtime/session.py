"""One generation as the commands run it: in a child process, so that a file that kills llama.cpp is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemma_mtp.mtp_runtime.child import in_child
from gemma_mtp.mtp_runtime.settings import ContextSettings, ModelSettings
from gemma_mtp.mtp_runtime.stats import Statistics


@dataclass(frozen=True)
class Request:
    """What to generate, with what. `draft_max` 0: plain decoding, and `assistant` may be None."""

    target: Path
    assistant: Path | None
    prompt: str
    max_tokens: int = 256
    draft_max: int = 3
    ignore_end: bool = False
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings | None = None


@dataclass(frozen=True)
class Result:
    """A finished generation: `Generation`'s text, token ids and finish, and the statistics."""

    text: str
    tokens: list[int]
    finish: str
    statistics: Statistics

    def as_dict(self) -> dict[str, Any]:
        """For JSON. `tokens` are the ids; the number of them is their length."""
        return self.statistics.as_dict() | {"text": self.text, "tokens": self.tokens, "finish": self.finish}


def run(request: Request, on_text: Callable[[str], None]) -> Result:
    """Generate in a child process; `on_text` gets the text as it comes.

    Raises what `MtpEngine` raises, NativeCrash, and EnvironmentProblem if llama.cpp does not work on this machine.
    """
    for item in in_child(f"{__name__}:stream", request):
        if isinstance(item, Result):
            return item
        on_text(item)
    raise AssertionError("a stream ends with its result")


def stream(request: Request) -> Iterator[str | Result]:
    """Runs in the child: pieces of text, then the result."""
    from gemma_mtp.mtp_runtime.engine import MtpEngine

    assistant = request.assistant if request.draft_max else None
    with MtpEngine(
        request.target, assistant, context=request.context, model=request.model, draft_max=request.draft_max
    ) as engine:
        generation = engine.generate(
            request.prompt,
            max_tokens=request.max_tokens,
            draft_max=request.draft_max,
            ignore_end=request.ignore_end,
        )
        shown = 0
        for token in generation:
            shown += len(token.text)
            yield token.text
        yield generation.text[shown:]
        yield Result(generation.text, generation.tokens, generation.finish or "", generation.statistics)
