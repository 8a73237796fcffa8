"""llama.cpp's own C++ engine, as xllamacpp packages it: an independent second opinion, and what `serve` serves.

The only file that uses xllamacpp. Its process must not use llama-cpp-python too: two builds of ggml in one clash.
An engine drafts with one length for its whole life: the server has no other way.
"""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from gemma_mtp.advice import ours
from gemma_mtp.cores import decoding_threads
from gemma_mtp.errors import EnvironmentProblem, LlamaError, MissingExtra, UsageError
from gemma_mtp.extras import command, installed
from gemma_mtp.native.child import telling
from gemma_mtp.native.methods import Method
from gemma_mtp.native.placement import LOAD_MODES
from gemma_mtp.native.result import Result
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings, Sampling
from gemma_mtp.native.stats import Statistics, peak_memory

PACKAGE = "xllamacpp"
#: Verbosity of llama.cpp's log: errors alone, or what happens too.
ERRORS, EVERYTHING = 1, 4
#: Sequences that llama.cpp has at most (llama-cparams.h, LLAMA_MAX_SEQ).
MOST_PARALLEL = 256
#: The server's reason for an end -> ours.
FINISHES = {"eos": "end", "limit": "length", "word": "stop"}


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and to whom it answers how.

    port 0: any free one. api_keys: any of them is needed; without one everyone may ask. threads: connections that it
    reads at once, None: llama.cpp's number. thinking: the template's `enable_thinking` where a request does not say.
    chat_template: Jinja's text, in the place of the target's own.
    """

    host: str = "127.0.0.1"
    port: int = 0
    api_keys: tuple[str, ...] = ()
    model_name: str | None = None
    metrics: bool = False
    threads: int | None = None
    thinking: bool = False
    chat_template: str | None = None


@dataclass(frozen=True)
class Loading:
    """What is loaded, and how. With NO_DRAFTS it decodes plainly. assistant: the drafter's file, whatever its method.

    parallel: requests that are answered at once, each with a context of its own. idle_cache: MiB of main memory for
    prompts of conversations that wait, 0: none is kept but the last of each place, -1: no limit. mmproj: the target's
    projector of images, where it shall see some.
    """

    target: Path
    assistant: Path | None
    drafting: Drafting = field(default_factory=Drafting)
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    parallel: int = 1
    idle_cache: int = 0
    mmproj: Path | None = None

    @property
    def drafter(self) -> Path | None:
        """The drafter's file, if it is to draft."""
        return self.assistant if self.drafting.longest else None

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if not 1 <= self.parallel <= MOST_PARALLEL:
            raise UsageError(f"{self.parallel} requests at once, 1 to {MOST_PARALLEL} are possible")
        if self.idle_cache < -1:
            raise UsageError(
                f"the cache of idle prompts is {self.idle_cache} MiB; wanted: 0 or more, or -1 for no limit"
            )


@dataclass
class ServerStatistics(Statistics):
    """What llama.cpp's server tells: totals, nothing by position, no times of drafting and of verification."""

    total_drafted: int = 0
    total_accepted: int = 0

    @property
    def drafted(self) -> int:
        return self.total_drafted

    @property
    def accepted(self) -> int:
        return self.total_accepted


def package_version() -> str:
    """Raises MissingExtra."""
    with suppress(PackageNotFoundError):  # a module without its package's record
        if installed("serve"):
            return version(PACKAGE)
    raise MissingExtra("serve", feature="llama.cpp's C++ engine")


def start_server(loading: Loading, listening: Listening, *, verbosity: int | None = None) -> Any:
    """A loaded `xllamacpp.Server`, which listens at its `listening_address` until it is deleted.

    verbosity: None: EVERYTHING if somebody reads this process's log, else ERRORS.

    Files that `sources.pairing.check_runnable` would refuse may abort the process.
    Raises MissingExtra, LlamaError (llama.cpp refuses; its words are on stderr).
    """
    xllamacpp = _xllamacpp()
    params = xllamacpp.CommonParams()
    params.model.path = str(loading.target)
    params.n_parallel, params.cache_ram_mib = loading.parallel, loading.idle_cache
    params.warmup, params.fit_params = False, False
    params.verbosity = (EVERYTHING if telling() else ERRORS) if verbosity is None else verbosity
    _set_context(params, loading, xllamacpp)
    if loading.mmproj is not None:
        params.mmproj.path = str(loading.mmproj)
    params.hostnames, params.port, params.api_keys = [listening.host], listening.port, list(listening.api_keys)
    params.endpoint_metrics, params.n_threads_http = listening.metrics, listening.threads or -1
    if listening.chat_template is not None:
        params.chat_template = listening.chat_template
    params.enable_reasoning = int(listening.thinking)
    params.default_template_kwargs = {"enable_thinking": "true" if listening.thinking else "false"}
    params.cors_origins = "*" if listening.api_keys else "localhost"  # no web page shall use a server without a key
    if listening.model_name:
        params.model_alias = {listening.model_name}
    _set_drafting(params.speculative, loading, xllamacpp)
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise LlamaError(
            f"llama.cpp's server did not start: {error}",
            where=f"{PACKAGE} {package_version()}",
            hint=ours("verify", loading.target, loading.assistant) if loading.assistant else ours("doctor"),
        ) from error


def _xllamacpp() -> Any:
    package_version()
    try:
        import xllamacpp
    except (ImportError, OSError) as error:
        raise EnvironmentProblem(
            f"{PACKAGE} cannot be loaded: {error}", hint=f"install it anew: {command('serve')}"
        ) from error
    return xllamacpp


def devices() -> Iterator[tuple[str, ...]]:
    """Runs in a child: name and description of each device that xllamacpp's build uses. Raises MissingExtra."""
    yield tuple(f"{one['name']}: {one['description']}" for one in _xllamacpp().get_device_info())


def _beside_cpu() -> list[dict[str, Any]]:
    """The devices beside the CPU that xllamacpp's build uses. Raises MissingExtra."""
    xllamacpp = _xllamacpp()
    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    return [device for device in xllamacpp.get_device_info() if device["type"] != cpu]


def gpus() -> tuple[str, ...]:
    """Their descriptions."""
    return tuple(str(device["description"]) for device in _beside_cpu())


def free_device_memory() -> int:
    """Bytes that are free on all of them together."""
    return sum(int(device["memory_free"]) for device in _beside_cpu())


def _set_context(params: Any, loading: Loading, xllamacpp: Any) -> None:
    context, model = loading.context, loading.model
    threads = context.threads or decoding_threads()
    params.n_ctx = context.size * loading.parallel  # which the server divides by the number of places
    params.n_batch, params.n_ubatch = context.batch, context.at_once
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = threads, context.threads_batch or threads
    params.swa_full, params.kv_unified = context.swa_full, context.kv_unified
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{context.cache_k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{context.cache_v.upper()}")
    words = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}
    params.flash_attn_type = getattr(
        xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{words[context.flash_attention]}"
    )
    params.n_gpu_layers, params.no_extra_bufts = model.gpu_layers, not model.extra_buffers
    _place(params, model, xllamacpp)


def _place(params: Any, model: ModelSettings, xllamacpp: Any) -> None:
    """Raises UsageError: what xllamacpp does not let one choose."""
    if model.device is not None:
        raise UsageError(
            f"{PACKAGE} has no --device for the target",
            hint="the engine python has; or name GPUs by CUDA_VISIBLE_DEVICES in the environment",
        )
    params.split_mode = getattr(xllamacpp.llama_split_mode, f"LLAMA_SPLIT_MODE_{model.split_mode.upper()}")
    params.load_mode = xllamacpp.llama_load_mode(LOAD_MODES[model.load_mode])
    params.main_gpu = model.main_gpu
    if model.tensor_split:
        room = len(params.tensor_split)
        params.tensor_split = [*model.tensor_split, *[0.0] * room][:room]
    if model.overrides:
        params.tensor_buft_overrides = ",".join(f"{pattern}={device}" for pattern, device in model.overrides)


def _set_drafting(speculative: Any, loading: Loading, xllamacpp: Any) -> None:
    drafting, threads = loading.drafting, loading.context.threads or decoding_threads()
    uses = [use for use in drafting.uses if not use.method.takes_file or loading.drafter is not None]
    if not uses:
        return
    speculative.types = [speculative_type(use.method, xllamacpp) for use in uses]
    for use in uses:
        for size in use.method.sizes:
            group, field = size.field.split(".")
            setattr(getattr(speculative, group), field, size.of(use))
    if loading.drafter is None:
        return
    draft, own = speculative.draft, loading.model.for_drafter()
    draft.mparams.path, draft.n_gpu_layers = str(loading.drafter), own.gpu_layers
    if own.device is not None:
        draft.devices = own.device
    draft.n_min, draft.p_min = drafting.shortest, drafting.p_min
    draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = threads


def speculative_type(method: Method, xllamacpp: Any) -> Any:
    """What its enumeration calls `--spec-type`."""
    name = f"COMMON_SPECULATIVE_TYPE_{method.spec_type.upper().replace('-', '_')}"
    return getattr(xllamacpp.common_speculative_type, name)


class CppEngine:
    """A loaded pair that generates through the server's own completions, in this process.

    with CppEngine(Loading(target, assistant, Drafting(3))) as engine:
        print(engine.complete("def main():", max_tokens=100).text)
    """

    def __init__(self, loading: Loading, *, verbosity: int | None = None):
        """Raises what `start_server` raises, and LlamaError: a drafter that llama.cpp drops without an error, as it
        does with those whose vocabulary is another. Nobody else may ask: its key is secret."""
        self._key = secrets.token_urlsafe()
        self._server = start_server(loading, Listening(api_keys=(self._key,)), verbosity=verbosity)
        if loading.drafting.uses and not self._ask("/slots")[0].get("speculative"):
            self.close()
            raise LlamaError(
                "llama.cpp's server loaded the drafter and does not draft with it: its log says why",
                where=loading.drafter or loading.target,
                hint=f"--verbose shows the log; {ours('inspect', loading.drafter or loading.target)}",
            )

    def tokenize(self, text: str) -> list[int]:
        """The prompt's token ids, begin token included. Raises LlamaError."""
        return list(self._ask("/tokenize", {"content": text, "add_special": True})["tokens"])

    def _ask(self, path: str, content: dict[str, Any] | None = None) -> Any:
        """An endpoint that xllamacpp has no call for. Raises LlamaError."""
        request = urllib.request.Request(
            f"{self._server.listening_address}{path}",
            None if content is None else json.dumps(content).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
        )
        try:  # a proxy of the environment has nothing to do with a server on this machine
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            raise LlamaError(f"llama.cpp's server does not answer {path}: {error}") from error

    def complete(
        self, prompt: str | Sequence[int], *, max_tokens: int = 256, ignore_end: bool = False, **more: Any
    ) -> Result:
        """Generate, greedily unless `more` (fields of llama-server's requests) says otherwise.

        prompt: text, or token ids. Raises UsageError (a prompt longer than the context, ...), LlamaError.
        """
        answer = _Answer()
        answer.take(self._server.handle_completions(_request(prompt, max_tokens, ignore_end, more, stream=False)))
        return answer.result()

    def stream(
        self, prompt: str, *, max_tokens: int = 256, ignore_end: bool = False, reuse: bool = False, **more: Any
    ) -> Generator[str, bool, Result]:
        """As `complete`, but yields the text as it comes, and hears whether to go on. Returns the result.

        reuse: keep what the KV cache holds of this prompt already, from the one before.
        """
        answer = _Answer()
        asked = _request(prompt, max_tokens, ignore_end, more, stream=True) | {"cache_prompt": reuse}
        with ThreadPoolExecutor(1) as pool:  # the server calls back, a generator is called
            asking = pool.submit(self._server.handle_completions, asked, answer.take)
            asking.add_done_callback(lambda _: answer.pieces.put(None))
            try:
                while (piece := answer.pieces.get()) is not None:
                    if not (yield piece):
                        answer.stopped = True
            finally:
                answer.stopped = answer.stopped or not asking.done()
            asking.result()
        return answer.result()

    def close(self) -> None:
        """Stop the server and free everything. Harmless when done already."""
        self._server = None

    def __enter__(self) -> CppEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


class _Answer:
    """What the server has said so far. pieces: its texts, in order. stopped: it shall say no more."""

    def __init__(self) -> None:
        self.pieces: SimpleQueue[str | None] = SimpleQueue()
        self.stopped = False
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._last: dict[str, Any] = {}

    def take(self, chunk: dict[str, Any]) -> bool:
        """Note one more chunk, or the whole answer; True: no more, please."""
        self._last = chunk
        if "error" not in chunk:
            verbose = chunk["__verbose"]
            self._text.append(verbose["content"])
            self._tokens += verbose["tokens"]
            self.pieces.put(verbose["content"])
        return self.stopped

    def result(self) -> Result:
        """Raises UsageError (the server refuses), LlamaError."""
        if "error" in self._last:
            raise _refusal(self._last["error"])
        verbose = self._last.get("__verbose", {"stop": False})
        if not verbose["stop"] and not self.stopped:
            raise LlamaError("llama.cpp's server ended its answer before the end")
        return Result("".join(self._text), self._tokens, _finish(verbose), _statistics(verbose.get("timings", {})))


def _request(
    prompt: str | Sequence[int], max_tokens: int, ignore_end: bool, more: dict[str, Any], stream: bool
) -> dict[str, Any]:
    return {
        "temperature": 0.0,
        "top_k": 1,
        **more,
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "n_predict": max_tokens,
        "ignore_eos": ignore_end,
        "cache_prompt": False,
        "stream": stream,
        "return_tokens": True,
        "timings_per_token": True,
        "verbose": True,
    }


def sampling_fields(sampling: Sampling | None) -> dict[str, Any]:
    """As fields of a request. Raises UsageError (a mode that the server does not have)."""
    if sampling is None or (sampling.temperature == 0 and not sampling.penalises):
        return {}
    if sampling.mode == "reject":
        raise UsageError("the C++ engine has no sampling mode reject", hint="the mode match, or the engine python")
    names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "presence_penalty")
    fields = {name: getattr(sampling, name) for name in (*names, "frequency_penalty")}
    return fields | ({} if sampling.seed is None else {"seed": sampling.seed & 0xFFFFFFFF})


def _finish(verbose: dict[str, Any]) -> str:
    """Why the server ended, by `engine.FINISHES`."""
    if not verbose["stop"]:
        return "stopped"
    return "context" if verbose["truncated"] else FINISHES[verbose["stop_type"]]


def _statistics(timings: dict[str, Any]) -> ServerStatistics:
    """From the server's `timings`. The time of generation begins with the first token, as in `Statistics`."""
    tokens, accepted = timings.get("predicted_n", 0), timings.get("draft_n_accepted", 0)
    prompt_seconds = timings.get("prompt_ms", 0.0) / 1000
    return ServerStatistics(
        prompt_tokens=timings.get("prompt_n", 0) + (kept := timings.get("cache_n", 0)),
        reused_tokens=kept,
        tokens=tokens,
        rounds=max(tokens - 1 - accepted, 0),
        prompt_seconds=prompt_seconds,
        first_token_seconds=prompt_seconds,
        generation_seconds=timings.get("predicted_ms", 0.0) / 1000,
        peak_memory=peak_memory(),
        total_drafted=timings.get("draft_n", 0),
        total_accepted=accepted,
    )


def _refusal(error: dict[str, Any]) -> LlamaError | UsageError:
    if error.get("code") == 400:
        full = "context size" in error["message"]
        hint = "a larger context (--ctx, as far as the model was trained for it), or a shorter prompt" if full else None
        return UsageError(f"llama.cpp's server refuses: {error['message']}", hint=hint)
    return LlamaError(f"llama.cpp's server failed: {error['message']}")
