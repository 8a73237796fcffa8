"""What a drafter of blocks needs of llama.cpp beyond `native.llama`: rows of the target's layers, put into a cache.

These calls of llama-ext.h have C++ linkage and no binding: they are found by the names that compilers give them.
Source: llama.cpp, common/speculative.cpp, `common_speculative_impl_draft_dflash`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from gemma_mtp.errors import EnvironmentProblem, LlamaError
from gemma_mtp.extras import command
from gemma_mtp.native.llama import DECODE_CODES, LOG, Context, Model
from gemma_mtp.native.settings import ContextSettings

FLOATS = ctypes.POINTER(ctypes.c_float)
#: What each is called by compilers that follow the Itanium ABI, and by Microsoft's.
SET_LAYER = (
    "_Z30llama_set_embeddings_layer_inpP13llama_contextjb",
    "?llama_set_embeddings_layer_inp@@YAXPEAUllama_context@@I_N@Z",
)
GET_LAYER = (
    "_Z30llama_get_embeddings_layer_inpP13llama_contextj",
    "?llama_get_embeddings_layer_inp@@YAPEAMPEAUllama_context@@I@Z",
)
LAYER_IDS = (
    "_Z28llama_model_target_layer_idsPK11llama_model",
    "?llama_model_target_layer_ids@@YAPEBHPEBUllama_model@@@Z",
)
LAYER_COUNT = (
    "_Z30llama_model_target_layer_ids_nPK11llama_model",
    "?llama_model_target_layer_ids_n@@YAIPEBUllama_model@@@Z",
)


@cache
def _call(names: tuple[str, ...], result: Any, *arguments: Any) -> Callable[..., Any]:
    """Raises EnvironmentProblem: another llama.cpp, or another compiler."""
    for name in names:
        with suppress(AttributeError):
            found = getattr(lib._lib, name)
            found.restype, found.argtypes = result, list(arguments)
            return found  # type: ignore[no-any-return]
    raise EnvironmentProblem(
        f"{names[0]} is not in llama.cpp's library: it does not give the rows of layers",
        where=lib._base_path,
        hint=f"install the version that gemma-mtp is written for: {command('runtime')}",
    )


def target_layers(drafter: Model) -> tuple[int, ...]:
    """The target's layers whose inputs a drafter reads, counted as in its GGUF. Raises EnvironmentProblem."""
    count = _call(LAYER_COUNT, ctypes.c_uint32, lib.llama_model_p_ctypes)(drafter.handle)
    numbers = _call(LAYER_IDS, ctypes.POINTER(ctypes.c_int32), lib.llama_model_p_ctypes)(drafter.handle)
    return tuple(numbers[place] for place in range(count))


class LayerRows:
    """The inputs of some of a target's layers, after each of its batches."""

    def __init__(self, target: Context, layers: Sequence[int]):
        """`check_runnable` must have seen that the target has these layers: llama.cpp aborts otherwise."""
        self._target, self._layers = target, tuple(layers)
        switch = _call(SET_LAYER, None, lib.llama_context_p_ctypes, ctypes.c_uint32, ctypes.c_bool)
        for layer in self._layers:
            switch(target.handle, layer, True)

    def last(self, count: int) -> np.ndarray:
        """Those of the last batch, of `count` tokens: float32 [count, layers * width]. A copy. Raises LlamaError."""
        get = _call(GET_LAYER, FLOATS, lib.llama_context_p_ctypes, ctypes.c_uint32)
        width = self._target.model.width
        rows = np.empty((count, len(self._layers), width), np.float32)
        for place, layer in enumerate(self._layers):
            pointer = get(self._target.handle, layer)
            if not pointer:
                raise LlamaError(f"llama.cpp gave no rows of layer {layer}", where=self._target.model.path)
            rows[:, place] = np.ctypeslib.as_array(pointer, (count, width))
        return rows.reshape(count, -1)


class BlockContext(Context):
    """A block drafter's context: a cache of its own, filled with what `put` makes of the target's rows."""

    def __init__(self, model: Model, settings: ContextSettings, target: Context):
        """Raises LlamaError."""
        super().__init__(model, settings, ctx_other=target.handle)
        self._owners += (target,)  # whose embeddings and head it uses
        target._dependents.add(self)
        lib.llama_set_causal_attn(self.handle, model.text_value("dflash.attention.causal") == "true")
        self._features = lib.llama_batch_ext_init(self.handle)

    def put(self, rows: np.ndarray, position: int) -> None:
        """Make keys and values of a target's rows, float32 [count, features], at `position` and after it.

        Raises LlamaError with the code's meaning.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        step = min(self.settings.at_once, self.capacity)
        for start in range(0, len(rows), step):
            lib.llama_batch_ext_clear(self._features)
            for place, row in enumerate(rows[start : start + step]):
                embedding = lib.llama_embd(row.ctypes.data_as(FLOATS), 1, rows.shape[1])
                index = lib.llama_batch_ext_add_embd(self._features, 0, embedding)
                at = lib.llama_pos(position + start + place)
                if index < 0 or not lib.llama_batch_ext_set_pos(self._features, index, ctypes.byref(at)):
                    raise LlamaError(f"llama_batch_ext_add_embd returned {index}", where=self.model.path)
            mark = LOG.count
            code = lib.llama_process(self.handle, lib.LLAMA_PROCESS_TYPE_DECODE, self._features)
            if code:
                meaning = DECODE_CODES.get(code, "unknown")
                raise LlamaError(
                    f"llama_process returned {code}: {meaning}", where=self.model.path, log=LOG.since(mark)
                )

    def close(self) -> None:
        """Release the native objects now. Harmless when done already."""
        if not self.closed:
            lib.llama_batch_ext_free(self._features)
        super().close()
