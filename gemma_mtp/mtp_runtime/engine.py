"""A target and its assistant, loaded and ready to generate."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime.control import Auto, Control, Fixed
from gemma_mtp.mtp_runtime.drafter import Drafter
from gemma_mtp.mtp_runtime.generate import Step, generate
from gemma_mtp.mtp_runtime.memory import Memory
from gemma_mtp.mtp_runtime.pairing import check_pair, check_target, read_header
from gemma_mtp.mtp_runtime.sampler import Sampler, Timed, make_sampler
from gemma_mtp.mtp_runtime.text import TextStream
from gemma_mtp.mtp_runtime.verifier import Verifier
from gemma_mtp.native.llama import Context, Model
from gemma_mtp.native.settings import ContextSettings, ModelSettings, Sampling
from gemma_mtp.native.stats import Statistics, peak_memory

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
    called twice. In threads: what another thread is generating is not disturbed, a second generation is a UsageError;
    `close`, of an engine or of a generation, may be called from anywhere and waits for the step that is running.
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
            from gemma_mtp.native.backend import settings_for_this_machine

            model = settings_for_this_machine()
        context = context or ContextSettings()
        self._stack = ExitStack()
        self._running: weakref.ref[Generation] | None = None  # one that nobody holds any more has ended
        self._lock = threading.RLock()  # held while a step runs, and while something starts or ends
        self._adaptive: dict[tuple[int, int, float], Auto] = {}
        self._memory: Memory | None = None
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
                self._memory = Memory(Path(target), Path(assistant), context, model)
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
        draft_min: int = 0,
        p_min: float = 0.0,
        auto: bool = False,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        ignore_end: bool = False,
        reuse: bool = False,
    ) -> Generation:
        """Start a generation; iterate over the result for its tokens. One that this thread still runs is stopped first.

        prompt: text, or token ids.
        draft_max: drafted tokens in a round, 0 for plain decoding. auto: adapt it to what pays, up to draft_max; what
            is learned stays with the engine, and `close` keeps it for the next one with this pair on this machine.
            draft_min: throw shorter drafts away. p_min: end a draft where the drafter is less confident.
        sampling: None: greedy. stop: texts that end the generation and don't belong to it.
        ignore_end: never choose an end token.
        reuse: keep what the KV cache holds of this prompt already, from the generation before.
        Raises UsageError (also while iterating: a prompt longer than the context; another thread that generates),
        LlamaError.
        """
        if max_tokens < 1:
            raise UsageError(f"{max_tokens} tokens to generate, at least 1 is needed")
        if not all(stop):
            raise UsageError("a stop text is empty")
        self._check_drafting(draft_max, draft_min, p_min)
        if sampling is not None and sampling.mode == "reject" and draft_min > 1 and p_min > 0:
            raise UsageError(
                "draft_min together with p_min would drop drafts for what they are, and bias the sampling mode reject",
                hint="leave one of them out, or use the mode match",
            )
        self._check_free()  # at once: who has begun a step holds the lock for as long as that takes
        with self._lock:
            self._check_free()
            if running := self._unfinished():
                running.close()
            tokens = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
            sampler = make_sampler(sampling, tokens, self.target.end_tokens() if ignore_end else ())
            control = self._adapting(draft_max, draft_min, p_min) if auto else Fixed(draft_max)
            limits = {"draft_min": draft_min, "p_min": p_min}
            started = Generation(self, tokens, max_tokens, control, sampler, stop, reuse=reuse, **limits)
            self._running = weakref.ref(started)
        return started

    def _unfinished(self) -> Generation | None:
        running = self._running and self._running()
        return running if running and not running.finish else None

    def _check_free(self) -> None:
        """Raises UsageError if another thread, which lives, has a generation that has not ended."""
        running = self._unfinished()
        if running and running.thread is not threading.current_thread() and running.thread.is_alive():
            raise UsageError(
                "this engine is generating in another thread",
                hint="close that generation first, or make an engine for each thread",
            )

    def _check_drafting(self, draft_max: int, draft_min: int, p_min: float) -> None:
        """Raises UsageError."""
        if not 0 <= draft_max <= self.draft_max:
            raise UsageError(f"draft_max is {draft_max}, this engine was made for 0 to {self.draft_max}")
        if draft_max and not 0 <= draft_min <= draft_max:
            raise UsageError(f"draft_min is {draft_min}, wanted: 0 to draft_max, which is {draft_max}")
        if not 0 <= p_min <= 1:
            raise UsageError(f"p_min is {p_min}, wanted: 0 to 1")

    def _adapting(self, *limits: Any) -> Auto:
        """The control for draft_max, draft_min and p_min, which goes on where it was."""
        if limits not in self._adaptive:
            draft_max, draft_min, p_min = limits
            known = self._memory.experience(p_min) if self._memory else None
            self._adaptive[limits] = Auto(draft_max, draft_min, known)
        return self._adaptive[limits]

    def close(self) -> None:
        """Stop what runs and free contexts and models. Harmless when done already."""
        with self._lock:
            if running := self._unfinished():
                running.close()
            while self._adaptive and self._memory:
                (_, _, p_min), control = self._adaptive.popitem()
                self._memory.keep_experience(control.experience(), p_min)
            self._stack.close()

    def __enter__(self) -> MtpEngine:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class Generation(Iterator[Token]):
    """A running generation: an iterator of its tokens.

    text, tokens (ids), statistics: so far. seed: of the sampling, None if it is greedy. finish: None while it runs,
    then "end" (an end token, which is the last token), "length" (max_tokens), "stop" (a stop text), "context" (the KV
    cache is full), "stopped" (`close` was called before the end) or "failed" (an exception came out of it). thread: the
    one that started it, or asked for a token last.
    """

    def __init__(
        self,
        engine: MtpEngine,
        prompt: list[int],
        max_tokens: int,
        control: Control,
        sampler: Sampler,
        stop: Sequence[str],
        **options: Any,
    ):
        """options: of `generate.generate`."""
        self.prompt = prompt
        self.seed = sampler.seed
        self.tokens: list[int] = []
        self.statistics = Statistics()
        self.finish: str | None = None
        self.thread = threading.current_thread()
        self._lock = engine._lock
        self._model, self._max_tokens, self._stream = engine.target, max_tokens, TextStream(stop)
        drafter = engine._drafter if control.draft_max else None
        self._contexts = [part.context for part in (engine._verifier, drafter) if part]
        self._steps = generate(
            engine._verifier,
            drafter,
            Timed(sampler, self.statistics),
            prompt,
            self.statistics,
            max_tokens=max_tokens,
            control=control,
            **options,
        )

    @property
    def text(self) -> str:
        return self._stream.text

    def __next__(self) -> Token:
        """Raises UsageError (a prompt longer than the context), LlamaError."""
        with self._lock:
            return self._next_token()

    def _next_token(self) -> Token:
        if self.finish:
            raise StopIteration
        self.thread = threading.current_thread()
        step = self._next_step()
        if step is None:
            self._end("context")
            raise StopIteration
        self.tokens.append(step.token)
        ended = self._model.ends(step.token)
        last = ended or len(self.tokens) == self._max_tokens
        text = self._stream.feed(b"" if ended else self._model.piece(step.token), last=last)
        if self._stream.stopped:
            self._end("stop")
        elif last:
            self._end("end" if ended else "length")
        return Token(step.token, text, step.drafted)

    def _next_step(self) -> Step | None:
        """The loop's next step, its time counted."""
        start, decoding = perf_counter(), self._decoding()
        try:
            step = next(self._steps, None)
        except BaseException:
            self._end("failed")
            raise
        seconds = perf_counter() - start
        if self.tokens:
            self.statistics.generation_seconds += seconds
            self.statistics.decode_seconds += self._decoding() - decoding
        else:
            self.statistics.first_token_seconds = seconds
        return step

    def _decoding(self) -> float:
        return sum(context.decode_seconds for context in self._contexts)

    def close(self) -> None:
        """Stop here; the engine can start another generation. Harmless when it has ended."""
        with self._lock:
            if not self.finish:
                self._end("stopped")

    def _end(self, reason: str) -> None:
        self.finish = reason
        self.statistics.peak_memory = peak_memory()
        self._steps.close()
        self._stream.feed(b"", last=True)


def _check_files(target: str | Path, assistant: str | Path | None) -> None:
    header = read_header(target)
    check_target(header)
    if assistant is not None:
        check_pair(header, read_header(assistant))
