"""llama.cpp's own C++ engine, as xllamacpp packages it: an independent second opinion, and what `serve` serves.

The only file that uses xllamacpp. Its process must not use llama-cpp-python too: two builds of ggml in one clash.
An engine drafts with one length for its whole life: the server has no other way.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from gemma_mtp.errors import LlamaError, MissingExtra, UsageError
from gemma_mtp.mtp_runtime.pairing import check_pair, check_target, read_header
from gemma_mtp.mtp_runtime.session import Result
from gemma_mtp.mtp_runtime.settings import ContextSettings, ModelSettings, available_cores
from gemma_mtp.mtp_runtime.stats import Statistics

PACKAGE = "xllamacpp"
#: Verbosity of llama.cpp's log: errors alone, or what happens too.
ERRORS, EVERYTHING = 1, 3
#: The server's reason for an end -> ours.
FINISHES = {"eos": "end", "limit": "length", "word": "stop"}


@dataclass(frozen=True)
class Listening:
    """Where the server listens. port 0: any free one. api_keys: any of them is needed; without one everyone may ask."""

    host: str = "127.0.0.1"
    port: int = 0
    api_keys: tuple[str, ...] = ()
    model_name: str | None = None
    metrics: bool = False


@dataclass(frozen=True)
class Loading:
    """What is loaded, and how. Without an assistant, or with `draft_max` 0, it decodes plainly."""

    target: Path
    assistant: Path | None
    draft_max: int
    draft_min: int = 0
    p_min: float = 0.0
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


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
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        raise MissingExtra(PACKAGE, "serve") from None


def start_server(loading: Loading, listening: Listening, *, verbosity: int = ERRORS) -> Any:
    """A loaded `xllamacpp.Server`, which listens at its `listening_address` until it is deleted.

    Raises MissingExtra, BadFileError (no pair), LlamaError (llama.cpp refuses; its words are on stderr).
    """
    xllamacpp = _xllamacpp()
    header = read_header(loading.target)
    check_target(header)
    params = xllamacpp.CommonParams()
    params.model.path = str(loading.target)
    params.n_parallel, params.warmup, params.fit_params, params.cache_ram_mib = 1, False, False, 0
    params.verbosity = verbosity
    _set_context(params, loading, xllamacpp)
    params.hostnames, params.port, params.api_keys = [listening.host], listening.port, list(listening.api_keys)
    params.endpoint_metrics = listening.metrics
    if listening.model_name:
        params.model_alias = {listening.model_name}
    if loading.assistant is not None and loading.draft_max:
        check_pair(header, read_header(loading.assistant))
        _set_drafting(params.speculative, loading, loading.assistant, xllamacpp)
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise LlamaError(
            f"llama.cpp's server did not start: {error}",
            where=f"{PACKAGE} {package_version()}",
            hint=f"gemma-mtp verify {loading.target} {loading.assistant or ''}".rstrip(),
        ) from error


def _xllamacpp() -> Any:
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise
        raise MissingExtra(PACKAGE, "serve") from None
    return xllamacpp


def _set_context(params: Any, loading: Loading, xllamacpp: Any) -> None:
    context, model = loading.context, loading.model
    threads = context.threads or available_cores()
    params.n_ctx, params.n_batch, params.n_ubatch = context.size, context.batch, context.batch
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{context.cache_k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{context.cache_v.upper()}")
    words = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}
    params.flash_attn_type = getattr(
        xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{words[context.flash_attention]}"
    )
    params.n_gpu_layers, params.no_extra_bufts = model.gpu_layers, not model.extra_buffers


def _set_drafting(speculative: Any, loading: Loading, assistant: Path, xllamacpp: Any) -> None:
    draft, threads = speculative.draft, loading.context.threads or available_cores()
    speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_MTP]
    draft.mparams.path, draft.n_gpu_layers = str(assistant), loading.model.gpu_layers
    draft.n_max, draft.n_min, draft.p_min = loading.draft_max, loading.draft_min, loading.p_min
    draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = threads


class CppEngine:
    """A loaded pair that generates through the server's own completions, in this process.

    with CppEngine(Loading(target, assistant, draft_max=3)) as engine:
        print(engine.complete("def main():", max_tokens=100).text)
    """

    def __init__(self, loading: Loading):
        """Raises what `start_server` raises. Nobody else may ask: its key is secret."""
        self._server = start_server(loading, Listening(api_keys=(secrets.token_urlsafe(),)))

    def complete(
        self,
        prompt: str,
        *,
        max_tokens: int = 256,
        ignore_end: bool = False,
        options: dict[str, Any] | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Result:
        """Greedy, unless `options` (fields of llama-server's requests) say otherwise. `on_text` gets text as it comes.

        Raises UsageError (a prompt longer than the context, ...), LlamaError.
        """
        pieces: list[str] = []
        tokens: list[int] = []
        final: dict[str, Any] = {}

        def take(chunk: dict[str, Any]) -> bool:
            if "error" in chunk:
                final.update(chunk)
                return False
            verbose = chunk["__verbose"]
            pieces.append(verbose["content"])
            tokens.extend(verbose["tokens"])
            if on_text:
                on_text(verbose["content"])
            if verbose["stop"]:
                final.update(verbose)
            return False

        asked = {"temperature": 0.0, "top_k": 1, **(options or {})}
        asked |= {"prompt": prompt, "n_predict": max_tokens, "ignore_eos": ignore_end, "cache_prompt": False}
        asked |= {"return_tokens": True, "verbose": True}
        if on_text:
            self._server.handle_completions(asked | {"stream": True}, take)
        else:
            take(self._server.handle_completions(asked | {"stream": False}))
        if "error" in final:
            raise _refusal(final["error"])
        if not final:
            raise LlamaError("llama.cpp's server ended its answer before the end")
        finish = "context" if final["truncated"] else FINISHES.get(final["stop_type"], final["stop_type"])
        return Result("".join(pieces), tokens, finish, _statistics(final))

    def close(self) -> None:
        """Stop the server and free everything. Harmless when done already."""
        self._server = None

    def __enter__(self) -> CppEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def _statistics(final: dict[str, Any]) -> ServerStatistics:
    """From the server's `timings`. The time of generation begins with the first token, as in `Statistics`."""
    timings = final["timings"]
    tokens, accepted = timings["predicted_n"], timings.get("draft_n_accepted", 0)
    return ServerStatistics(
        prompt_tokens=timings["prompt_n"],
        tokens=tokens,
        rounds=max(tokens - 1 - accepted, 0),
        prompt_seconds=timings["prompt_ms"] / 1000,
        generation_seconds=timings["predicted_ms"] / 1000,
        total_drafted=timings.get("draft_n", 0),
        total_accepted=accepted,
    )


def _refusal(error: dict[str, Any]) -> LlamaError | UsageError:
    if error.get("code") == 400:
        return UsageError(f"llama.cpp's server refuses: {error['message']}")
    return LlamaError(f"llama.cpp's server failed: {error['message']}")
