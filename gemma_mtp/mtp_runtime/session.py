"""Generations as the commands run them: in a child process, so that a file that kills llama.cpp is an error."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gemma_mtp.errors import UsageError
from gemma_mtp.native.child import converse
from gemma_mtp.native.result import Result
from gemma_mtp.native.settings import ChatSettings, ContextSettings, Drafting, ModelSettings, Sampling
from gemma_mtp.sources.drafting import of_file
from gemma_mtp.sources.pairing import check_runnable

#: What the child sends when it wants the next message.
ASKING = None


@dataclass(frozen=True)
class Request:
    """What to generate, with what. The fields are those of `MtpEngine` and its `generate`.

    drafting: with NO_DRAFTS `assistant` may be None. chat: make the prompt a message in the model's chat
    format; without a prompt the messages are asked for. engine: "python" (MtpEngine) or "cpp" (CppEngine).
    """

    target: Path
    assistant: Path | None
    prompt: str | None
    chat: ChatSettings | None = None
    max_tokens: int = 256
    drafting: Drafting = field(default_factory=Drafting)
    sampling: Sampling | None = None
    stop: tuple[str, ...] = ()
    ignore_end: bool = False
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings | None = None
    engine: str = "python"

    def __post_init__(self) -> None:
        """Raises UsageError: what the C++ engine does not do."""
        if self.engine == "cpp" and self.drafting.auto:
            raise UsageError(
                "the C++ engine does not adapt its drafts", hint="a draft of fixed length, or the engine python"
            )

    @property
    def options(self) -> dict[str, Any]:
        """For `MtpEngine.generate`."""
        names = ("max_tokens", "drafting", "sampling", "stop", "ignore_end")
        return {name: getattr(self, name) for name in names}


def run(request: Request, on_text: Callable[[str], None]) -> Result:
    """One generation in a child process; `on_text` gets the text as it comes.

    Ctrl-C (SIGINT) stops it, and the result says so ("stopped"); a second one is a KeyboardInterrupt.
    Raises what `MtpEngine` and `Conversation` raise, NativeCrash, and EnvironmentProblem if llama.cpp does not work on
    this machine.
    """
    if request.prompt is None:
        raise UsageError("there is no prompt")
    with closing(turns(request, on_text, lambda: None)) as results:
        return next(results)


def turns(
    request: Request, on_text: Callable[[str], None], ask: Callable[[], str | None]
) -> Generator[Result, None, None]:
    """A conversation: the result of every answer. `ask` gives the next message, or None at the end. Else as `run`."""
    child = converse(f"{__name__}:serve", request, files=(request.target, request.assistant))
    reply: Any = None
    try:
        while True:
            with Interrupts() as interrupts:
                item = child.send(reply)
                while isinstance(item, str):
                    on_text(item)
                    item = child.send(not interrupts.seen)
            if isinstance(item, Result):
                yield item
            reply = ask() if item is ASKING else None
    except StopIteration:
        pass
    finally:
        child.close()


class Interrupts:
    """While this is entered, the first Ctrl-C is only noted. (Not in a thread: signals are the main thread's.)"""

    def __init__(self) -> None:
        self.seen = False
        self._before: Any = None

    def _note(self, number: int, frame: Any) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


#: Gives pieces of an answer's text, hearing after each whether to go on, and then the result.
Answer = Callable[[str], Generator[str | Result | None, Any, None]]


def serve(request: Request) -> Generator[str | Result | None, Any, None]:
    """Runs in the child. Sends pieces of text (and hears whether to go on), results, and ASKING (and hears what)."""
    with {"python": _python, "cpp": _cpp}[request.engine](request) as answer:
        if request.chat is None or request.prompt is not None:
            yield from answer(request.prompt or "")
            return
        while (message := (yield ASKING)) is not None:
            yield from answer(message)


@contextmanager
def _cpp(request: Request) -> Iterator[Answer]:
    from gemma_mtp.mtp_runtime.conversation import Talk, template_of
    from gemma_mtp.native.cpp import CppEngine, Loading, sampling_fields

    drafting, model = of_file(request.drafting, request.assistant), request.model or ModelSettings()
    loading = Loading(request.target, request.assistant, drafting, request.context, model)
    trained = check_runnable(request.target, loading.drafter, model).context
    fields = sampling_fields(request.sampling) | {"stop": list(request.stop)}
    talk = Talk(template_of(request.target), request.chat) if request.chat else None

    def answer(message: str) -> Generator[str | Result | None, Any, None]:
        result = yield from engine.stream(
            talk.ask(message) if talk else message,
            max_tokens=request.max_tokens,
            ignore_end=request.ignore_end,
            reuse=talk is not None,
            **fields,
        )
        yield replace(result, context=min(request.context.size, trained), trained=trained, engine=request.engine)
        if talk:
            talk.answered(result.text)

    with CppEngine(loading) as engine:
        yield answer


@contextmanager
def _python(request: Request) -> Iterator[Answer]:
    from gemma_mtp.mtp_runtime.chat import Conversation
    from gemma_mtp.mtp_runtime.engine import MtpEngine

    def answer(message: str) -> Generator[str | Result | None, Any, None]:
        generation = (conversation.say if conversation else engine.generate)(message, **request.options)
        length = 0
        for token in generation:
            length += len(token.text)
            if not (yield token.text):
                generation.close()
        yield generation.text[length:]
        yield Result(
            generation.text,
            generation.tokens,
            generation.finish or "",
            generation.statistics,
            generation.seed,
            engine.context_size,
            engine.target.trained_context,
        )

    assistant = request.assistant if request.drafting.longest else None
    with MtpEngine(
        request.target, assistant, context=request.context, model=request.model, draft_max=request.drafting.longest
    ) as engine:
        conversation = Conversation(engine, request.chat) if request.chat else None
        yield answer
