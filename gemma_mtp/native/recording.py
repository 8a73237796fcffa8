"""What a target's graph computes on the way: copies of its nodes, its saved state, and several texts decoded at once.

Beside `llama.py` the one file that touches native memory. The nodes' names are those of llama.cpp's graph code
(src/models/gemma4.cpp), no interface; whoever asks for them must see that they came, with the right shapes.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from gemma_mtp.errors import LlamaError
from gemma_mtp.native.llama import Context, Model, bound
from gemma_mtp.native.settings import ContextSettings

Array = np.ndarray[Any, Any]


class Tap:
    """Copies of named nodes of a graph, as they are computed. Give `callback` to a context as its `cb_eval`.

    widths: node -> elements of a row (the head's width). A node of another type or width counts as not seen.
    """

    def __init__(self, widths: dict[str, int]):
        self._widths = {name.encode(): width for name, width in widths.items()}
        self._parts: dict[bytes, list[Array]] = {name: [] for name in self._widths}
        self._name = bound("ggml_get_name", ctypes.c_char_p, ctypes.c_void_p)
        self._elements = bound("ggml_nelements", ctypes.c_int64, ctypes.c_void_p)
        self._rows = bound("ggml_nrows", ctypes.c_int64, ctypes.c_void_p)
        self._bytes = bound("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)
        copy = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
        self._copy = bound("ggml_backend_tensor_get", None, *copy)
        self.callback = lib.ggml_backend_sched_eval_callback(self._node)  # kept: llama.cpp holds only the pointer

    def _node(self, tensor: int, ask: bool, _: Any) -> bool:
        name = self._name(tensor)
        if ask or name not in self._widths:
            return name in self._widths
        elements, rows = self._elements(tensor), self._rows(tensor)
        if rows and elements == rows * self._widths[name] and self._bytes(tensor) == 4 * elements:
            data = np.empty((rows, self._widths[name]), np.float32)
            self._copy(tensor, data.ctypes.data, 0, data.nbytes)
            self._parts[name].append(data)
        return True

    def take(self, name: str) -> Array | None:
        """All rows of the node since the last taking: float32 [rows, width]; None if it was not seen."""
        parts = self._parts[name.encode()]
        whole = np.concatenate(parts) if parts else None
        parts.clear()
        return whole

    def clear(self) -> None:
        for parts in self._parts.values():
            parts.clear()


def forget(context: Context) -> None:
    """Empty the KV cache of all sequences."""
    lib.llama_memory_clear(lib.llama_get_memory(context.handle), True)


def saved_state(context: Context) -> bytes:
    """What `llama_state_get_data` gives."""
    size = lib.llama_state_get_size(context.handle)
    buffer = (ctypes.c_uint8 * size)()
    return bytes(buffer[: lib.llama_state_get_data(context.handle, buffer, size)])


@dataclass
class CachedLayers:
    """One KV cache of a saved state. keys, values: of each of its layers float16 [positions, heads * width]."""

    keys: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)


def cached_layers(state: bytes) -> list[CachedLayers]:
    """The caches of a saved state: of the full layers, then of the sliding ones, each by position.

    Layout: llama_kv_cache::state_write of llama.cpp (2026): the architecture's name; for each cache the number of
    streams, of cells, then the cells (position, sequences), whether V is transposed, the layers, K of each, V of each.
    Raises LlamaError for any other layout, and for caches that are not F16.
    """
    reader = _State(state)
    try:
        reader.skip(reader.number("I"))
        return [_cache(reader) for _ in range(2)]
    except (struct.error, ValueError) as error:
        raise LlamaError(f"llama_state_get_data: the saved state has another layout: {error}") from error


class _State:
    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f"<{form}", self.data, self.position)
        self.position += struct.calcsize(f"<{form}")
        return int(value)

    def skip(self, count: int) -> None:
        self.position += count

    def require(self, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            raise ValueError(f"{what} is {found}, not {wanted}")

    def halves(self, *shape: int) -> Array:
        """float16 of this shape."""
        count = int(np.prod(shape))
        found = np.frombuffer(self.data, np.float16, count, self.position).reshape(shape)
        self.position += 2 * count
        return found


def _cache(reader: _State) -> CachedLayers:
    reader.require("the number of streams", reader.number("I"), 1)
    cells = reader.number("I")
    positions = []
    for _ in range(cells):
        positions.append(reader.number("i"))
        reader.skip(4 * reader.number("I"))
    order = np.argsort(np.array(positions))
    transposed, layers = reader.number("I"), reader.number("I")
    found = CachedLayers()
    for _ in range(layers):
        found.keys.append(_rows(reader, cells)[order])
    for _ in range(layers):
        found.values.append((_columns(reader, cells) if transposed else _rows(reader, cells))[order])
    return found


def _rows(reader: _State, cells: int) -> Array:
    reader.require("the cache's type", reader.number("i"), 1)
    return reader.halves(cells, reader.number("Q") // 2)


def _columns(reader: _State, cells: int) -> Array:
    reader.require("the cache's type", reader.number("i"), 1)
    reader.require("an element's size", reader.number("I"), 2)
    return np.asarray(reader.halves(reader.number("I"), cells).T)


class Together:
    """A context that decodes several texts side by side, each a sequence with a KV cache of its own."""

    def __init__(self, model: Model, settings: ContextSettings, sequences: int):
        """settings.size: the tokens that all sequences have together. Raises LlamaError."""
        self.context = Context(model, settings, n_seq_max=sequences)
        self._batch = lib.llama_batch_init(self.context.capacity, 0, 1)

    @property
    def capacity(self) -> int:
        """The tokens that one decoding takes, of all sequences."""
        return self.context.capacity

    def decode(self, items: Sequence[tuple[int, int, int, bool]]) -> Array:
        """Run (token, position, sequence, wanted) items; logits of the wanted ones in their order.

        float32 [wanted, vocabulary], valid until the next decoding. Raises LlamaError.
        """
        batch, wanted = self._batch, 0
        batch.n_tokens = len(items)
        for i, (token, position, sequence, output) in enumerate(items):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, output
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            wanted += output
        code = lib.llama_decode(self.context.handle, batch)
        if code:
            raise LlamaError(f"llama_decode returned {code} for {len(items)} tokens", where=self.context.model.path)
        if not wanted:
            return np.empty((0, self.context.model.vocabulary), np.float32)
        pointer = lib.llama_get_logits(self.context.handle)
        return np.ctypeslib.as_array(pointer, (wanted, self.context.model.vocabulary))

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        lib.llama_memory_seq_rm(lib.llama_get_memory(self.context.handle), sequence, -1, -1)

    def close(self) -> None:
        """Harmless when done already."""
        if not self.context.closed:
            lib.llama_batch_free(self._batch)
            self.context.close()

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
