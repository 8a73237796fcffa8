"""A target and its assistant, loaded and ready to generate."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.model.family import DFLASH, FAMILIES
from gemma_mtp.mtp_runtime.blocks import USUAL_BLOCK, BlockDrafter
from gemma_mtp.mtp_runtime.control import Auto, Control, Fixed
from gemma_mtp.mtp_runtime.drafter import Chain, Drafter, MtpDrafter
from gemma_mtp.mtp_runtime.generate import Round, Step, generate
from gemma_mtp.mtp_runtime.memory import Memory
from gemma_mtp.mtp_runtime.ngrams import NGRAMS
from gemma_mtp.mtp_runtime.ordinary import OrdinaryDrafter
from gemma_mtp.mtp_runtime.sampler import Sampler, Timed, make_sampler
from gemma_mtp.mtp_runtime.text import TextStream
from gemma_mtp.mtp_runtime.verifier import Verifier
from gemma_mtp.native.blocks import BlockContext
from gemma_mtp.native.llama import Context, Model, gpu_names
from gemma_mtp.native.methods import DRAFT, MTP, Use
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings, Sampling
from gemma_mtp.native.stats import Statistics, peak_memory
from gemma_mtp.sources.drafting import check_drafting, of_file


def _assistant(stack: ExitStack, loaded: Model, context: ContextSettings, target: Context) -> Drafter:
    settings = replace(context, batch=1, outputs=1)
    return MtpDrafter(stack.enter_context(Context(loaded, settings, target=target)))


def _ordinary(stack: ExitStack, loaded: Model, context: ContextSettings, target: Context) -> Drafter:
    return OrdinaryDrafter(stack.enter_context(Context(loaded, replace(context, outputs=1))))


def _block(stack: ExitStack, loaded: Model, context: ContextSettings, target: Context) -> Drafter:
    if loaded.text_value("dflash.selector_rank"):
        raise BadFileError(
            "this is a DFlash2 drafter, whose selector the Python loop does not have",
            where=loaded.path,
            hint="llama.cpp's C++ engine drafts with it",
        )
    block = int(loaded.text_value("dflash.block_size") or USUAL_BLOCK)
    settings = replace(context, outputs=block)
    return BlockDrafter(stack.enter_context(BlockContext(loaded, settings, target)), target)


#: A method that takes a file -> who drafts so: made of the stack that closes it, the loaded file, how contexts are
#: made, and the target's.
DRAFTERS: dict[str, Callable[[ExitStack, Model, ContextSettings, Context], Drafter]] = {
    MTP: _assistant,
    DRAFT: _ordinary,
    DFLASH.name: _block,
}


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
        target: str | PathLike[str],
        assistant: str | PathLike[str] | None = None,
        *,
        context: ContextSettings | None = None,
        model: ModelSettings | None = None,
        draft_max: int = 16,
        method: str = MTP,
    ):
        """draft_max: the longest draft that `generate` may ask for. method: how the second file drafts: "mtp", an
        assistant, "draft", an ordinary smaller model, or "dflash", a drafter of blocks, which is also seen by the file.

        model: None: what `backend.settings_for_this_machine` found to work (a first call probes, in a child process).
        Raises GGUFError, BadFileError (not a pair), LlamaError (llama.cpp refuses), EnvironmentProblem.
        """
        if draft_max < 0:
            raise UsageError(f"draft_max is {draft_max}, at least 0 is needed")
        if method not in DRAFTERS:
            raise UsageError(f"the Python loop does not draft by {method}", hint=f"it knows {', '.join(DRAFTERS)}")
        target, assistant = Path(target), None if assistant is None else Path(assistant)
        method = of_file(Drafting(method=method), assistant).method
        owner = check_drafting(target, assistant, method, model)
        if model is not None and model.device_draft is not None and method == MTP:
            model.require_drafter_near(at_the_end=not owner.shared_kv_layers, gpus=gpu_names())
        if model is None:
            from gemma_mtp.native.backend import settings_for_this_machine

            model = settings_for_this_machine()
        context = context or ContextSettings()
        self._files = [str(path) for path in (target, assistant) if path is not None]
        self._stack = ExitStack()
        self._running: weakref.ref[Generation] | None = None  # one that nobody holds any more has ended
        self._lock = threading.RLock()  # held while a step runs, and while something starts or ends
        self._adaptive: dict[Drafting, Auto] = {}
        self._memory: Memory | None = None
        self._ngrams: dict[Use, Drafter] = {}
        self._method, self.draft_max = method, draft_max
        try:
            self.target = self._stack.enter_context(Model(target, model))
            target_context = Context(self.target, replace(context, outputs=draft_max + 1))
            self._verifier = Verifier(self._stack.enter_context(target_context))
            self._drafter: Drafter | None = None
            if assistant is not None:
                loaded = self._stack.enter_context(Model(assistant, model.for_drafter()))
                self._drafter = DRAFTERS[method](self._stack, loaded, context, target_context)
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
        draft_max: int | None = None,
        drafting: Drafting | None = None,
        sampling: Sampling | None = None,
        sampler: Sampler | None = None,
        stop: Sequence[str] = (),
        ignore_end: bool = False,
        reuse: bool = False,
        on_round: Callable[[Round], None] | None = None,
    ) -> Generation:
        """Start a generation; iterate over the result for its tokens. One that this thread still runs is stopped first.

        prompt: text, or token ids.
        drafting: how long drafts are. draft_max: short for `Drafting(draft_max)`. Without either: `Drafting()`. What is
            learned of a length that adapts itself stays with the engine, and `close` keeps it for the next one with
            this pair on this machine.
        sampling: None: greedy. sampler: one of the caller's own in its place, which sees to `ignore_end` itself.
        stop: texts that end the generation and don't belong to it. ignore_end: never choose an end token.
        reuse: keep what the KV cache holds of this prompt already, from the generation before.
        on_round: hears of each round that was verified, before its tokens come.
        Raises UsageError (also while iterating: a prompt longer than the context; another thread that generates),
        LlamaError.
        """
        if max_tokens < 1:
            raise UsageError(f"{max_tokens} tokens to generate, at least 1 is needed")
        if not all(stop):
            raise UsageError("a stop text is empty")
        if draft_max is not None and drafting is not None:
            raise UsageError("draft_max is short for a drafting: give one of them")
        if sampler is not None and (sampling is not None or ignore_end):
            raise UsageError("a sampler of one's own leaves no room for sampling or ignore_end")
        drafting = drafting or (Drafting() if draft_max is None else Drafting(draft_max))
        if drafting.method == MTP and self._method in FAMILIES:
            drafting = replace(drafting, method=self._method)
        self._check_drafting(drafting, sampling)
        self._check_free()  # at once: who has begun a step holds the lock for as long as that takes
        with self._lock:
            self._check_free()
            if running := self._unfinished():
                running.close()
            tokens = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
            sampler = sampler or make_sampler(sampling, tokens, self.target.end_tokens() if ignore_end else ())
            control = self._adapting(drafting) if drafting.auto else Fixed(drafting.at_most)
            options = {"drafting": drafting, "reuse": reuse, "on_round": on_round}
            started = Generation(self, tokens, max_tokens, control, sampler, stop, **options)
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

    def _check_drafting(self, drafting: Drafting, sampling: Sampling | None) -> None:
        """Raises UsageError."""
        if drafting.at_most > self.draft_max:
            raise UsageError(
                f"the longest draft is {drafting.at_most} tokens, this engine was made for 0 to {self.draft_max}"
            )
        if drafting.longest and self._drafter and drafting.method != self._method:
            raise UsageError(f"this engine drafts by {self._method}, not by {drafting.method}")
        unknown = [use.name for use in drafting.ngrams if use.name not in NGRAMS]
        if unknown:
            raise UsageError(f"the Python loop has no {unknown[0]}", hint=f"it has {', '.join(NGRAMS)}")
        if sampling is not None and sampling.mode == "reject" and drafting.shortest > 1 and drafting.p_min > 0:
            raise UsageError(
                "a shortest draft together with p_min would drop drafts for what they are, and bias the sampling mode "
                "reject",
                hint="leave one of them out, or use the mode match",
            )

    def _drafter_for(self, drafting: Drafting) -> Drafter | None:
        """Whoever drafts so. What an n-gram drafter has read stays with the engine, as with llama.cpp's server."""
        parts: list[tuple[Drafter, int]] = []
        for use in drafting.uses:
            drafter = self._drafter
            if not use.method.takes_file:
                drafter = self._ngrams.setdefault(use, NGRAMS[use.name](use))
            if drafter is not None:
                parts.append((drafter, use.length))
        return parts[0][0] if len(parts) == 1 else Chain(parts) if parts else None

    def _adapting(self, drafting: Drafting) -> Auto:
        """The control, which goes on where it was."""
        if drafting not in self._adaptive:
            known = self._memory.experience(drafting.p_min) if self._memory else None
            self._adaptive[drafting] = Auto(drafting.longest, drafting.shortest, known)
        return self._adaptive[drafting]

    def close(self) -> None:
        """Stop what runs and free contexts and models. Harmless when done already."""
        with self._lock:
            if running := self._unfinished():
                running.close()
            while self._adaptive and self._memory:
                drafting, control = self._adaptive.popitem()
                self._memory.keep_experience(control.experience(), drafting.p_min)
            self._stack.close()

    def __repr__(self) -> str:
        return f"MtpEngine({', '.join(map(repr, self._files))}, draft_max={self.draft_max})"

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
        drafter = engine._drafter_for(options["drafting"])
        self._contexts = [engine._verifier.context, *(drafter.contexts if drafter else ())]
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
