"""llama.cpp through ctypes: the one file that touches native memory, pointers and return codes.

`Model` and `Context` own their native objects and release them in the right order (contexts before their model, an
assistant's context before its target's), on `close`, at the end of a `with` block, or when they are forgotten. Every
return code is checked; what llama.cpp logged meanwhile goes into the error.

Written against llama-cpp-python 0.3.36 (llama.cpp of 2026-10-01): the MTP calls of `llama_cpp_ext` are marked unstable.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import llama_cpp.llama_cpp as lib
import numpy as np
from llama_cpp import llama_cpp_ext as ext
from llama_cpp._ctypes_extensions import load_shared_library

from gemma_mtp.advice import ours
from gemma_mtp.cores import decoding_threads
from gemma_mtp.errors import EnvironmentProblem, LlamaError, UsageError
from gemma_mtp.extras import command
from gemma_mtp.native.child import ECHO
from gemma_mtp.native.placement import LOAD_MODES, NONE, SPLIT_MODES
from gemma_mtp.native.settings import CACHE_TYPES, FLASH_ATTENTION, ContextSettings, ModelSettings

#: llama_decode's return codes (llama.h, and `llama_context::decode`).
DECODE_CODES = {
    1: "no room in the KV cache for this batch",
    2: "aborted",
    -1: "the batch is invalid",
    -2: "memory could not be allocated",
    -3: "the computation failed",
}
#: From this code downwards the context's state is undefined: it must not be used again.
FATAL_BELOW = -1
NEW_ENGINE = "close this engine and make a new one"

# ggml.h, `enum ggml_log_level` and `enum ggml_backend_dev_type`.
DEBUG, WARNING, CONTINUED = 1, 3, 5
STDERR = 2
DEVICE_KINDS = {0: "CPU", 1: "GPU", 2: "integrated GPU", 3: "accelerator", 4: "meta"}

#: Views that a context remembers: llama.cpp's output buffer moves rarely, but its parts move with the number of rows.
MOST_VIEWS = 64

Row = np.ndarray  # float32 [columns], a view on native memory that is valid until the context's next decode


class NativeLog:
    """llama.cpp's log: the last lines, each with its level. It arrives in pieces that can end anywhere."""

    def __init__(self, lines: int = 200):
        self.lines: deque[tuple[int, str]] = deque(maxlen=lines)
        self.count = 0
        # A file descriptor that gets the lines too, should this process die: what a child of `child.py` has.
        self.echo: int | None = STDERR if os.environ.get(ECHO) else None
        self._level, self._open = 0, b""
        self._callback = lib.llama_log_callback(self._receive)  # kept: llama.cpp holds only the pointer
        lib.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _receive(self, level: int, text: bytes, _: Any) -> None:
        self._level = self._level if level == CONTINUED else level
        if self.echo is not None and self._level > DEBUG:
            os.write(self.echo, text)
        *complete, self._open = (self._open + text).split(b"\n")
        for line in complete:
            self.lines.append((self._level, line.decode("utf-8", errors="replace")))
            self.count += 1

    def since(self, mark: int, at_most: int = 8) -> tuple[str, ...]:
        """The last warnings and errors after line `mark`, or whatever was said if there are none."""
        recent = list(self.lines)[max(0, len(self.lines) - (self.count - mark)) :]
        serious = [line for level, line in recent if level >= WARNING and line.strip()]
        return tuple((serious or [line for _, line in recent if line.strip()])[-at_most:])


LOG = NativeLog()
lib.llama_backend_init()


@contextmanager
def _failures_of(call: str, where: str | Path | None = None) -> Iterator[Callable[..., LlamaError]]:
    """Gives a maker of errors that know the call, the file, and what llama.cpp logged inside the block."""
    mark = LOG.count
    yield lambda what, hint=None: LlamaError(f"{call}: {what}", where=where, hint=hint, log=LOG.since(mark))


Owner = TypeVar("Owner", bound="_Native")


class _Native:
    """Owner of one native object. What depends on it is closed before it."""

    def __init__(self, handle: Any, release: Callable[[Any], None], owners: Sequence[_Native] = ()):
        self._handle = handle
        self._owners = tuple(owners)  # kept alive at least as long as this object
        self._dependents: weakref.WeakSet[_Native] = weakref.WeakSet()
        self._finalizer = weakref.finalize(self, release, handle)
        for owner in owners:
            owner._dependents.add(self)

    @property
    def handle(self) -> Any:
        """Raises UsageError after `close`."""
        if self._handle is None:
            raise UsageError(f"this {type(self).__name__.lower()} is closed")
        return self._handle

    @property
    def closed(self) -> bool:
        return self._handle is None

    def close(self) -> None:
        """Release the native object now. Harmless when done already."""
        for dependent in list(self._dependents):
            dependent.close()
        self._handle = None
        self._finalizer()

    def __enter__(self: Owner) -> Owner:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class Model(_Native):
    """A loaded GGUF file and its vocabulary.

    Widths are numbers of elements. `output_width` differs from `width` for an assistant: it is the backbone width.
    """

    def __init__(self, path: str | Path, settings: ModelSettings | None = None):
        """Raises LlamaError if llama.cpp refuses the file."""
        self.path = Path(path)
        settings = settings or ModelSettings()
        params, _kept = _model_params(settings)
        with _failures_of("llama_model_load_from_file", self.path) as failure:
            handle = lib.llama_model_load_from_file(os.fsencode(self.path), params)
            if not handle:
                raise failure("llama.cpp cannot load this file", ours("inspect", self.path))
        super().__init__(handle, lib.llama_model_free)
        self._vocab = lib.llama_model_get_vocab(handle)
        self._end_tokens: list[int] | None = None
        self.width = int(lib.llama_model_n_embd(handle))
        self.output_width = int(lib.llama_model_n_embd_out(handle))
        self.vocabulary = int(lib.llama_vocab_n_tokens(self._vocab))
        self.sliding_window = int(lib.llama_model_n_swa(handle))
        self.trained_context = int(lib.llama_model_n_ctx_train(handle))
        self.parameters = int(lib.llama_model_n_params(handle))
        self.nbytes = int(lib.llama_model_size(handle))

    def text_value(self, key: str) -> str | None:
        """A metadata value as llama.cpp prints it, or None."""
        size = lib.llama_model_meta_val_str(self.handle, key.encode(), None, 0)
        if size < 0:
            return None
        buffer = ctypes.create_string_buffer(size + 1)
        lib.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", errors="replace")

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids, with the begin token if the model wants one. `special`: recognise control tokens in the text."""
        raw = text.encode("utf-8", errors="surrogatepass")
        capacity = len(raw) + 8
        while True:
            ids = (lib.llama_token * capacity)()
            count = lib.llama_tokenize(self._alive_vocab, raw, len(raw), ids, capacity, True, special)
            if count >= 0:
                return list(ids[:count])
            if -count <= capacity:
                raise LlamaError(f"llama_tokenize: the text of {len(raw):,} bytes is too long", where=self.path)
            capacity = -count

    def piece(self, token: int) -> bytes:
        """The bytes that `token` stands for, which may be a part of a character. Control tokens give none."""
        buffer = ctypes.create_string_buffer(64)
        size = lib.llama_token_to_piece(self._alive_vocab, token, buffer, len(buffer), 0, False)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = lib.llama_token_to_piece(self._alive_vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[:size]

    def ends(self, token: int) -> bool:
        """Whether `token` ends a generation (end of text, end of turn)."""
        return bool(lib.llama_vocab_is_eog(self._alive_vocab, token))

    def end_tokens(self) -> list[int]:
        """All tokens that `ends` is true for: a walk over the vocabulary, made once."""
        if self._end_tokens is None:
            self._end_tokens = [token for token in range(self.vocabulary) if self.ends(token)]
        return self._end_tokens

    @property
    def _alive_vocab(self) -> Any:
        return self._vocab if self.handle else None


class Context(_Native):
    """A KV cache and the buffers of a model: sequence 0, filled from position 0 on without gaps.

    With `target` it is an assistant's context: it has no KV cache of its own and reads the target's.
    decode_seconds: spent inside of llama_decode so far, its computation included. listeners: hear of each batch that
    was decoded, its first position and its tokens' number, while what it computed is still there.
    """

    def __init__(
        self, model: Model, settings: ContextSettings | None = None, target: Context | None = None, **parameters: Any
    ):
        """parameters: fields of llama.cpp's `llama_context_params` that no setting stands for.

        Raises LlamaError if llama.cpp cannot make the context (memory, unsupported settings).
        """
        self.model, self.settings, self.broken = model, settings or ContextSettings(), False
        params = _context_params(self.settings, model)
        for name, value in parameters.items():
            setattr(params, name, value)
        if target is not None:
            params.ctx_type, params.ctx_other = lib.LLAMA_CONTEXT_TYPE_MTP, target.handle
        with _failures_of("llama_init_from_model", model.path) as failure:
            handle = lib.llama_init_from_model(model.handle, params)
            if not handle:
                raise failure(
                    f"no context of {params.n_ctx:,} tokens could be made",
                    "a smaller context needs less memory, and so does a cache of type q8_0",
                )
        super().__init__(handle, lib.llama_free, [model] if target is None else [model, target])
        self.size = int(lib.llama_n_ctx(handle))
        self.outputs = int(params.n_outputs_max)
        self._batch = _Batch(params.n_batch, model.output_width if target is not None else 0)
        self._views: dict[tuple[int, int], np.ndarray] = {}
        self._rows = 0
        self.threads = int(params.n_threads)
        self.decode_seconds = 0.0
        self.listeners: list[Callable[[int, int], None]] = []

    def give_hidden_rows(self) -> None:
        """From now on `hidden` has a row for each output (llama-ext.h, `llama_set_embeddings_nextn`, masked)."""
        ext.llama_set_embeddings_nextn(self.handle, True, True)

    @property
    def capacity(self) -> int:
        """The tokens that one `decode` takes."""
        return len(self._batch.tokens)

    def decode(self, tokens: Sequence[int], position: int, outputs: int) -> None:
        """Run `tokens` at `position` and after it; logits (and hidden rows) are kept for the last `outputs` of them.

        Raises LlamaError with the code's meaning; `broken` is then set if the context cannot be used any more.
        """
        count, batch = len(tokens), self._batch
        if count > self.capacity or outputs > self.outputs:
            raise UsageError(
                f"{count} tokens, {outputs} outputs in one batch: this context takes {self.capacity} and {self.outputs}"
            )
        batch.tokens[:count] = tokens
        batch.positions[:count] = range(position, position + count)
        batch.wanted[: count - outputs] = 0
        batch.wanted[count - outputs : count] = 1
        self._run(count, outputs)

    def decode_draft(self, token: int, hidden: Row, position: int) -> None:
        """One draft step: `token` and the hidden row [output_width] before it, at `position`. One row of outputs."""
        batch = self._batch
        batch.tokens[0], batch.positions[0], batch.wanted[0] = token, position, 1
        batch.hidden[:] = hidden
        self._run(1, 1)

    def _run(self, count: int, outputs: int) -> None:
        if self.broken:
            raise LlamaError("llama_decode failed before, its context cannot be used any more", hint=NEW_ENGINE)
        handle = self.handle
        self._batch.native.n_tokens = count
        mark, start = LOG.count, perf_counter()
        code = lib.llama_decode(handle, self._batch.native)
        lib.llama_synchronize(handle)
        self.decode_seconds += perf_counter() - start
        if code == 0:
            self._rows = outputs
            for listener in self.listeners:
                listener(int(self._batch.positions[0]), count)
            return
        self.broken = code < FATAL_BELOW
        raise LlamaError(
            f"llama_decode returned {code}: {DECODE_CODES.get(code, 'unknown')} "
            f"({count} tokens at position {self._batch.positions[0]}, context of {self.size:,})",
            where=self.model.path,
            hint=NEW_ENGINE if self.broken else "give it a larger context" if code == 1 else None,
            log=LOG.since(mark),
        )

    def logits(self) -> np.ndarray:
        """Logits of the last decode: float32 [outputs, vocabulary], valid until the next one."""
        return self._view(lib.llama_get_logits(self.handle), self.model.vocabulary, "llama_get_logits")

    def hidden(self) -> np.ndarray:
        """Hidden rows of the last decode: float32 [outputs, output_width], valid until the next one."""
        pointer = ext.llama_get_embeddings_nextn(self.handle)
        return self._view(pointer, self.model.output_width, "llama_get_embeddings_nextn")

    def _view(self, pointer: Any, columns: int, call: str) -> np.ndarray:
        if not pointer:
            raise LlamaError(f"{call}: there are no outputs", where=self.model.path)
        key = ctypes.addressof(pointer.contents), self._rows
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
            memory = (ctypes.c_float * (self._rows * columns)).from_address(key[0])
            view = self._views[key] = np.ctypeslib.as_array(memory).reshape(self._rows, columns)
        return view

    def cut(self, position: int) -> None:
        """Forget the KV entries from `position` on. Raises LlamaError."""
        if not lib.llama_memory_seq_rm(lib.llama_get_memory(self.handle), 0, position, -1):
            raise LlamaError(f"llama_memory_seq_rm: the KV cache cannot be cut at {position}", where=self.model.path)

    def holds_window_before(self, position: int) -> bool:
        """Whether a cut at `position` leaves sliding layers all that they look back on from there."""
        oldest = lib.llama_memory_seq_pos_min(lib.llama_get_memory(self.handle), 0)
        return bool(0 <= oldest <= max(0, position - self.model.sliding_window))


class _Batch:
    """A llama_batch over NumPy arrays of ours: one sequence, nothing for llama.cpp to free.

    tokens, positions: int32 [capacity]; wanted: int8 [capacity], 1 where outputs are kept; hidden: float32 [width].
    """

    def __init__(self, capacity: int, width: int):
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.wanted = np.zeros(capacity, np.int8)
        self.hidden = np.zeros(width, np.float32)
        self.native = lib.llama_batch()
        self.native.token = self.tokens.ctypes.data_as(ctypes.POINTER(lib.llama_token))
        self.native.pos = self.positions.ctypes.data_as(ctypes.POINTER(lib.llama_pos))
        self.native.logits = self.wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        if width:
            self.native.embd = self.hidden.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def _context_params(settings: ContextSettings, model: Model) -> Any:
    params = lib.llama_context_default_params()
    params.n_ctx = min(settings.size, model.trained_context) if model.trained_context else settings.size
    params.n_batch = min(settings.batch, params.n_ctx)
    params.n_ubatch = min(settings.at_once, params.n_batch)
    params.n_outputs_max = params.n_outputs_max_per_seq = min(settings.outputs, params.n_batch)
    params.n_threads = settings.threads or decoding_threads()
    params.n_threads_batch = settings.threads_batch or params.n_threads
    params.type_k, params.type_v = CACHE_TYPES[settings.cache_k], CACHE_TYPES[settings.cache_v]
    params.flash_attn_type = FLASH_ATTENTION[settings.flash_attention]
    params.swa_full, params.kv_unified = settings.swa_full, settings.kv_unified
    return params


def _model_params(settings: ModelSettings) -> tuple[Any, list[Any]]:
    """Parameters to load a model with, and what they point to, which must live as long as the call.

    Raises UsageError: no such device.
    """
    params, kept = lib.llama_model_default_params(), list[Any]()
    params.n_gpu_layers, params.use_extra_bufts = settings.gpu_layers, settings.extra_buffers
    params.split_mode, params.main_gpu = SPLIT_MODES[settings.split_mode], settings.main_gpu
    params.load_mode = LOAD_MODES[settings.load_mode]
    if settings.tensor_split:
        shares = (ctypes.c_float * lib.LLAMA_MAX_DEVICES)(*settings.tensor_split[: lib.LLAMA_MAX_DEVICES])
        params.tensor_split = ctypes.cast(shares, ctypes.POINTER(ctypes.c_float))
        kept.append(shares)
    if settings.device is not None:
        names = [] if settings.device == NONE else settings.device.split(",")
        found = (ctypes.c_void_p * (len(names) + 1))(*[_device(name) for name in names], None)
        params.devices = ctypes.cast(found, ctypes.c_void_p)
        kept.append(found)
    if settings.overrides:
        buffer_of = bound("ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)
        pairs = [_Override(pattern.encode(), buffer_of(_device(name))) for pattern, name in settings.overrides]
        listed = (_Override * (len(pairs) + 1))(*pairs, _Override(None, None))
        params.tensor_buft_overrides = ctypes.cast(listed, ctypes.c_void_p)
        kept.append(listed)
    return params, kept


class _Override(ctypes.Structure):
    """llama.h, `struct llama_model_tensor_buft_override`."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def _device(name: str) -> int:
    """ggml's device of this name. Raises UsageError."""
    if found := bound("ggml_backend_dev_by_name", ctypes.c_void_p, ctypes.c_char_p)(name.encode()):
        return int(found)
    there = ", ".join(device.name for device in devices())
    raise UsageError(f"there is no device {name!r}", hint=f"this build of llama.cpp has {there}")


@dataclass(frozen=True)
class Device:
    """A compute device that this build of llama.cpp can use. Memory in bytes, 0 where unknown."""

    name: str
    description: str
    kind: str
    memory_total: int
    memory_free: int


class _DeviceProperties(ctypes.Structure):
    """ggml-backend.h, `struct ggml_backend_dev_props`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("capabilities", ctypes.c_bool * 16),
    )


def bound(name: str, result: Any, *arguments: Any) -> Any:
    """A function of llama.cpp's libraries that the bindings leave out. Raises EnvironmentProblem."""
    for library in ("llama", "ggml", "ggml-base"):
        with suppress(AttributeError, OSError, FileNotFoundError):
            function = getattr(load_shared_library(library, lib._base_path), name)
            function.restype, function.argtypes = result, list(arguments)
            return function
    raise EnvironmentProblem(
        f"{name} is in none of llama.cpp's libraries",
        where=lib._base_path,
        hint=f"install the version that gemma-mtp is written for: {command('runtime')}",
    )


def devices() -> list[Device]:
    """The devices of this build. Raises EnvironmentProblem if the libraries lack ggml's device calls."""
    count = bound("ggml_backend_dev_count", ctypes.c_size_t)
    get = bound("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    describe = bound("ggml_backend_dev_get_props", None, ctypes.c_void_p, ctypes.POINTER(_DeviceProperties))
    found = []
    for index in range(count()):
        properties = _DeviceProperties()
        describe(get(index), ctypes.byref(properties))
        found.append(
            Device(
                (properties.name or b"").decode(errors="replace"),
                (properties.description or b"").decode(errors="replace").strip(),
                DEVICE_KINDS.get(properties.type, f"type {properties.type}"),
                int(properties.memory_total),
                int(properties.memory_free),
            )
        )
    return found


def gpu_names() -> list[str]:
    """What a model is spread over where no devices are named (src/llama.cpp, `llama_prepare_model_devices`)."""
    there = devices()
    discrete, integrated = ([one.name for one in there if one.kind == DEVICE_KINDS[kind]] for kind in (1, 2))
    return discrete or integrated[:1]


def build_info() -> str:
    """llama.cpp's version, and ggml's with its commit if the build recorded one."""
    told = (lib.llama_version, *(bound(name, ctypes.c_char_p) for name in ("ggml_version", "ggml_commit")))
    llama, ggml, commit = ((function() or b"").decode(errors="replace") for function in told)
    return f"llama {llama}, ggml {ggml} ({commit})"


def features() -> list[str]:
    """The CPU and GPU features that this build uses here, by llama.cpp's names ("CPU : AVX2 = 1 | ...")."""
    items = lib.llama_print_system_info().decode(errors="replace").split("|")
    return [item.strip().removeprefix("CPU : ").removesuffix(" = 1") for item in items if item.strip()]


def library_path() -> Path:
    """The file of the loaded libllama."""
    return Path(lib._lib._name)
