"""A target and its assistant, loaded and ready to generate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime.drafter import Drafter
from gemma_mtp.mtp_runtime.generate import generate
from gemma_mtp.mtp_runtime.llama import Context, Model
from gemma_mtp.mtp_runtime.pairing import check_pair, check_target, read_header
from gemma_mtp.mtp_runtime.sampler import Greedy
from gemma_mtp.mtp_runtime.settings import ContextSettings, ModelSettings
from gemma_mtp.mtp_runtime.stats import Statistics
from gemma_mtp.mtp_runtime.text import TextStream
from gemma_mtp.mtp_runtime.verifier import Verifier

DEFAULT_DRAFT_MAX = 3


@dataclass(frozen=True)
class Token:
    """One generated token. `text`: the characters that it completes, maybe none. `drafted`: the assistant's guess."""

    id: int
    text: str
    drafted: bool


class MtpEngine:
    """A loaded pair. Without an assistant it decodes plainly.

        with MtpEngine("target.gguf", "assistant.gguf") as engine:
            for token in engine.generate("def main():", max_tokens=100, draft_max=3):
                print(token.text, end="", flush=True)

    One generation at a time; several engines can live in one process. `close` frees everything at once and may be
    called twice.
    """

    def __init__(
        self,
        target: str | Path,
        assistant: str | Path | None = None,
        *,
        context: ContextSettings | None = None,
        model: ModelSettings | None = None,
        draft_max: int = 16,
    ):
        """draft_max: the longest draft that `generate` may ask for.

        model: None: what `backend.settings_for_this_machine` found to work (a first call probes, in a child process).
        Raises GGUFError, BadFileError (not a pair), LlamaError (llama.cpp refuses), EnvironmentProblem.
        """
        if draft_max < 0:
            raise UsageError(f"draft_max is {draft_max}, at least 0 is needed")
        _check_files(target, assistant)
        if model is None:
            from gemma_mtp.mtp_runtime.backend import settings_for_this_machine

            model = settings_for_this_machine()
        context = context or ContextSettings()
        self._stack = ExitStack()
        self._running: Generation | None = None
        self.draft_max = draft_max
        try:
            self.target = self._stack.enter_context(Model(target, model))
            target_context = Context(self.target, replace(context, outputs=draft_max + 1))
            self._verifier = Verifier(self._stack.enter_context(target_context))
            self._drafter: Drafter | None = None
            if assistant is not None:
                loaded = self._stack.enter_context(Model(assistant, model))
                drafting = Context(loaded, replace(context, batch=1, outputs=1), target=target_context)
                self._drafter = Drafter(self._stack.enter_context(drafting))
        except BaseException:
            self._stack.close()
            raise

    @property
    def context_size(self) -> int:
        """Tokens that prompt and generation may have together."""
        return self._verifier.context.size

    def tokenize(self, text: str) -> list[int]:
        """The prompt's token ids, begin token included; control tokens written in the text are recognised."""
        return self.target.tokenize(text)

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 256,
        draft_max: int = DEFAULT_DRAFT_MAX,
        ignore_end: bool = False,
    ) -> Generation:
        """Start a generation (greedy); iterate over the result for its tokens.

        prompt: text, or token ids. draft_max: drafted tokens in a round, 0 for plain decoding.
        ignore_end: never choose an end token. A generation that is still running is stopped first.
        Raises UsageError (also while iterating: a prompt longer than the context), LlamaError.
        """
        if max_tokens < 1:
            raise UsageError(f"{max_tokens} tokens to generate, at least 1 is needed")
        if not 0 <= draft_max <= self.draft_max:
            raise UsageError(f"draft_max is {draft_max}, this engine was made for 0 to {self.draft_max}")
        if self._running:
            self._running.close()
        tokens = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        self._running = Generation(self, tokens, max_tokens, draft_max, ignore_end)
        return self._running

    def close(self) -> None:
        """Stop what runs and free contexts and models. Harmless when done already."""
        if self._running:
            self._running.close()
        self._stack.close()

    def __enter__(self) -> MtpEngine:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class Generation(Iterator[Token]):
    """A running generation: an iterator of its tokens.

    text, tokens (ids), statistics: so far. finish: None while it runs, then "end" (an end token, which is the last
    token), "length" (max_tokens), "context" (the KV cache is full) or "stopped" (`close` was called before the end).
    """

    def __init__(self, engine: MtpEngine, prompt: list[int], max_tokens: int, draft_max: int, ignore_end: bool):
        self.prompt = prompt
        self.tokens: list[int] = []
        self.statistics = Statistics()
        self.finish: str | None = None
        self._model, self._max_tokens, self._stream = engine.target, max_tokens, TextStream()
        self._steps = generate(
            engine._verifier,
            engine._drafter if draft_max else None,
            Greedy(engine.target.end_tokens() if ignore_end else []),
            prompt,
            self.statistics,
            max_tokens=max_tokens,
            draft_length=lambda: draft_max,
        )

    @property
    def text(self) -> str:
        return self._stream.text

    def __next__(self) -> Token:
        if self.finish:
            raise StopIteration
        start = perf_counter()
        step = next(self._steps, None)
        if self.tokens:
            self.statistics.generation_seconds += perf_counter() - start
        if step is None:
            self._end("context")
            raise StopIteration
        self.tokens.append(step.token)
        ended = self._model.ends(step.token)
        last = ended or len(self.tokens) == self._max_tokens
        text = self._stream.feed(b"" if ended else self._model.piece(step.token), last=last)
        if last:
            self._end("end" if ended else "length")
        return Token(step.token, text, step.drafted)

    def close(self) -> None:
        """Stop here; the engine can start another generation. Harmless when it has ended."""
        if not self.finish:
            self._end("stopped")

    def _end(self, reason: str) -> None:
        self.finish = reason
        self._steps.close()
        self._stream.feed(b"", last=True)


def _check_files(target: str | Path, assistant: str | Path | None) -> None:
    header = read_header(target)
    check_target(header)
    if assistant is not None:
        check_pair(header, read_header(assistant))
