"""GPUs that are not there: devices for llama.cpp that have memory and names, and compute nothing.

    python tests/helpers/pretended_gpus.py QUESTIONS.json

A model that is loaded without allocating (`no_alloc`) is planned for them as for real ones: which tensor, which layer's
cache and which buffer goes where is llama.cpp's own word, in its log. Devices cannot be taken away again, so this runs
as a program of its own. It reads a list of questions and prints a list of answers, bytes by device.

The structures are those of ggml-backend-impl.h (GGML_BACKEND_API_VERSION 2).
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

GPU, NAME = 1, "CUDA"
MEBIBYTE = 2**20
#: A batch as large as this is computed on a GPU with weights from main memory (ggml-cuda.cu, `offload_op`).
OFFLOADED_FROM = 32
POINTER = ctypes.c_void_p


def table(calls: int, *more: tuple[str, Any], before: tuple[tuple[str, Any], ...] = ()) -> Any:
    """A structure with so many functions in it, and what stands before and behind them."""
    fields = (*before, ("calls", POINTER * calls), *more)
    return type("Table", (ctypes.Structure,), {"_fields_": fields})


BufferType = table(6, ("device", POINTER), ("context", POINTER))
DeviceTable = table(15, ("registry", POINTER), ("context", POINTER))
Registry = table(4, ("context", POINTER), before=(("version", ctypes.c_int),))
Backend = table(16, ("device", POINTER), ("context", POINTER), before=(("guid", POINTER),))


class Tensor(ctypes.Structure):
    """The beginning of ggml.h's `struct ggml_tensor`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", POINTER),
        ("sizes", ctypes.c_int64 * 4),
        ("strides", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
    )


#: All that llama.cpp keeps a pointer to.
KEPT: list[Any] = []


def function(result: Any, *arguments: Any) -> Any:
    """Makes a Python function one of C's."""

    def made(call: Any) -> int:
        given = ctypes.CFUNCTYPE(result, *arguments)(call)
        KEPT.append(given)
        return ctypes.cast(given, POINTER).value or 0

    return made


def text(value: str) -> Any:
    raw = ctypes.create_string_buffer(value.encode())
    KEPT.append(raw)
    return function(POINTER, POINTER)(lambda _: ctypes.addressof(raw))


class PretendedGPU:
    """One device, its only kind of buffer, and the stream that would compute."""

    def __init__(self, name: str, memory: int, op_name: Any):
        self.memory, self.op_name = memory, op_name
        self.buffers, self.device = BufferType(), DeviceTable()
        self.address = ctypes.addressof(self.device)
        self.buffers.device = self.address
        for place, call in enumerate((text(name), 0, function(ctypes.c_size_t, POINTER)(lambda _: 128))):
            self.buffers.calls[place] = call
        yes, nothing = function(ctypes.c_bool, POINTER, POINTER), function(None, POINTER, POINTER)
        event = (POINTER * 2)(self.address)  # `struct ggml_backend_event`: device, context
        KEPT.extend((self, event))
        for place, call in {
            0: text(name),
            1: text("a pretended GPU"),
            2: function(None, POINTER, POINTER, POINTER)(self._memory),
            3: function(ctypes.c_int, POINTER)(lambda _: GPU),
            4: function(None, POINTER, POINTER)(self._properties),
            5: function(POINTER, POINTER, POINTER)(lambda _device, _words: ctypes.addressof(self._backend(name))),
            6: function(POINTER, POINTER)(lambda _: ctypes.addressof(self.buffers)),
            9: yes(lambda _device, _op: True),
            10: yes(lambda _device, kind: kind == ctypes.addressof(self.buffers)),
            11: yes(self._offloads),
            12: function(POINTER, POINTER)(lambda _: ctypes.addressof(event)),
            13: nothing(lambda _device, _event: None),
            14: nothing(lambda _device, _event: None),
        }.items():
            self.device.calls[place] = call
        self.name = name

    def _memory(self, _device: int, free: int, total: int) -> None:
        for address in (free, total):
            ctypes.c_size_t.from_address(address).value = self.memory

    def _properties(self, _device: int, address: int) -> None:
        from gemma_mtp.native.llama import _DeviceProperties

        found = _DeviceProperties.from_address(address)
        found.name, found.description, found.type = self.name.encode(), b"pretended", GPU
        found.memory_free = found.memory_total = self.memory
        found.capabilities[0] = found.capabilities[3] = True  # async, events: as CUDA has

    def _offloads(self, _device: int, address: int) -> bool:
        tensor = Tensor.from_address(address)
        sizes, op = tensor.sizes, self.op_name(tensor.op)
        rows = {b"GET_ROWS": 0, b"MUL_MAT": sizes[1], b"MUL_MAT_ID": sizes[2], b"ROPE": sizes[2]}
        return bool(rows.get(op, sizes[1] * sizes[2] * sizes[3]) >= OFFLOADED_FROM)

    def _backend(self, name: str) -> ctypes.Structure:
        made, guid = Backend(), ctypes.create_string_buffer(16)
        KEPT.extend((made, guid))
        made.guid, made.device = ctypes.addressof(guid), self.address
        for place in (1, 7):
            made.calls[place] = function(None, POINTER)(lambda _: None)
        made.calls[0] = text(name)
        return made


def register(memory: list[int]) -> None:
    """From now on llama.cpp sees so many GPUs with so much memory, CUDA0 and on."""
    from gemma_mtp.native.llama import bound

    op_name = bound("ggml_op_name", ctypes.c_char_p, ctypes.c_int)
    devices = [PretendedGPU(f"{NAME}{number}", size, op_name) for number, size in enumerate(memory)]
    registry = Registry()
    KEPT.append(registry)
    registry.version = 2
    registry.calls[0] = text(NAME)
    registry.calls[1] = function(ctypes.c_size_t, POINTER)(lambda _: len(devices))
    registry.calls[2] = function(POINTER, POINTER, ctypes.c_size_t)(lambda _, number: devices[number].address)
    registry.calls[3] = function(POINTER, POINTER, POINTER)(lambda _, _name: None)
    for one in devices:
        one.device.registry = ctypes.addressof(registry)
    bound("ggml_backend_register", None, POINTER)(ctypes.addressof(registry))


LAYER = re.compile(r"layer +(\d+) assigned to device (\w+),")
#: libstdc++'s std::map: where its root is, and in a node its two branches, its key and the value's three sizes.
ROOT, BRANCHES, KEY, SIZES = 16, (16, 24), 32, 40
KINDS = ("weights", "cache", "compute")


def answer(question: dict[str, Any]) -> list[dict[str, Any]]:
    """What llama.cpp plans for a target, and for its assistant beside it."""
    from gemma_mtp.native import llama
    from gemma_mtp.native.settings import ContextSettings, ModelSettings

    values = {name: tuple(given) if isinstance(given, list) else given for name, given in question["model"].items()}
    model, context = ModelSettings(**values), ContextSettings(**question["context"], threads=1)
    target = llama.Model(question["target"], replace(model, extra_buffers=False))
    verifying = llama.Context(target, context)
    found = [told(verifying)]
    if question.get("assistant"):
        drafter = llama.Model(question["assistant"], replace(model.for_drafter(), extra_buffers=False))
        drafting = replace(context, batch=1, ubatch=None, outputs=1)
        found.append(told(llama.Context(drafter, drafting, target=verifying)))
    return found


def told(context: Any) -> dict[str, Any]:
    """Bytes by device and kind, and where each layer is, of the log's lines since this was asked last."""
    from gemma_mtp.native import llama

    layers = dict(pair for _, line in llama.LOG.lines for pair in LAYER.findall(line))
    llama.LOG.lines.clear()
    found = {"layers": [layers[number] for number in sorted(layers, key=int)]}
    return found | {name: dict(zip(KINDS, sizes, strict=True)) for name, sizes in breakdown(context.handle)}


def breakdown(context: Any) -> list[tuple[str, list[int]]]:
    """llama-ext.h, `llama_get_memory_breakdown`: for each kind of buffer weights, cache and compute."""
    from gemma_mtp.native.llama import bound

    name_of, given = bound("ggml_backend_buft_name", ctypes.c_char_p, POINTER), ctypes.create_string_buffer(48)
    bound("_Z26llama_get_memory_breakdownPK13llama_context", None, POINTER, POINTER)(given, context)
    found, nodes = [], [_read(ctypes.addressof(given) + ROOT)]
    while nodes:
        if node := nodes.pop():
            nodes += [_read(node + branch) for branch in BRANCHES]
            found.append((name_of(_read(node + KEY)).decode(), [_read(node + SIZES + 8 * kind) for kind in range(3)]))
    return found


def _read(address: int) -> int:
    return ctypes.c_size_t.from_address(address).value


def unallocated(given: Any) -> Any:
    """llama.cpp's parameters of a model, of which nothing is allocated."""

    def params_of(settings: Any) -> Any:
        params, kept = given(settings)
        params.no_alloc, params.load_mode = True, 0
        return params, kept

    return params_of


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    from gemma_mtp.native import llama

    llama.LOG.lines = deque(maxlen=1_000_000)
    llama._model_params = unallocated(llama._model_params)
    register(asked["memory"])
    print(json.dumps([answer(question) for question in asked["questions"]]))


if __name__ == "__main__":
    main()
