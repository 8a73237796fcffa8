"""What a pair takes in memory, from the headers alone.

Weights and KV cache follow llama.cpp's own arithmetic (src/llama-kv-cache-iswa.cpp). Compute buffers are what its graph
allocator needs at the widest point of the worst-case graph; the widths used here were read off its allocations for
models of many shapes, and agree with it within a few percent of a pair's total (tests/validate/test_memory.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from gemma_mtp.ggml import GGMLType, row_bytes
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dflash.parameters import DFlashParameters
from gemma_mtp.model.family import DFLASH
from gemma_mtp.native.settings import CACHE_TYPES, TRAINED, ContextSettings
from gemma_mtp.sources.model import OpenModel

#: llama.cpp pads caches to this many cells.
CELLS = 256
FLOAT, HALF = 4, 2


@dataclass(frozen=True)
class Memory:
    """Bytes of one model: weights, KV cache, and compute and output buffers."""

    weights: int
    cache: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute

    def to_dict(self) -> dict[str, int]:
        return asdict(self) | {"total": self.total}


@dataclass(frozen=True)
class PairMemory:
    """Bytes of a pair, for one sequence of `tokens` tokens.

    asked: the tokens that were wanted, if they are more than the target was trained for, to which they are cut.
    """

    tokens: int
    target: Memory
    assistant: Memory
    asked: int | None = None

    @property
    def total(self) -> int:
        return self.target.total + self.assistant.total

    def to_dict(self) -> dict[str, object]:
        sides = {"target": self.target.to_dict(), "assistant": self.assistant.to_dict()}
        return {"tokens": self.tokens, "asked": self.asked or self.tokens, "total": self.total, **sides}


def pair_memory(target: OpenModel, assistant: OpenModel, context: ContextSettings) -> PairMemory:
    """What both need together. The keys of both must have been found right."""
    tokens = min(context.size, target.hyper.context)
    asked = context.size if tokens < context.size < TRAINED else None
    return PairMemory(tokens, target_memory(target, context), drafter_memory(assistant, context), asked)


def drafter_memory(side: OpenModel, context: ContextSettings) -> Memory:
    """What a drafter of either family adds."""
    return (block_drafter_memory if side.family is DFLASH else assistant_memory)(side, context)


def target_memory(side: OpenModel, context: ContextSettings) -> Memory:
    """The target's share, for one sequence of `context.size` tokens, prompt batches of `context.batch`."""
    model = side.hyper
    full, sliding = cells(model, context)
    batch = _batch(model, context)
    attended = full + (sliding if any(model.sliding) else 0)
    masks = attended * batch * (FLOAT if context.flash_attention == "off" else HALF)
    head = context.outputs * model.vocabulary
    graph = batch * (max(_dense(model), _experts(model)) + _per_layer_input(model))
    if context.flash_attention == "off":
        graph = max(graph, batch * (full * model.heads + 2 * model.hidden + 2 * _query(model)))
    compute = FLOAT * max(graph, 2 * batch * model.hidden + head) + masks
    outputs = FLOAT * (head + context.outputs * model.hidden)
    return Memory(_weights(side), cache_bytes(model, context), compute + outputs)


def assistant_memory(side: OpenModel, context: ContextSettings) -> Memory:
    """What the drafter adds. It has no KV cache of its own, and drafts one token at a time."""
    model = side.hyper
    full, sliding = cells(model, context)
    graph = max(_dense(model), 2 * model.hidden + model.vocabulary)
    outputs = model.vocabulary + model.backbone
    return Memory(_weights(side), 0, FLOAT * (graph + outputs) + HALF * (full + sliding))


def block_drafter_memory(side: OpenModel, context: ContextSettings) -> Memory:
    """What a DFlash drafter adds: a cache of its own, a block's rows, and the features of a batch beside them."""
    model = side.hyper
    full, sliding = cells(model, context)
    assert isinstance(model, DFlashParameters)
    batch = _batch(model, context)
    graph = max(batch * (model.features + _dense(model)), model.block * (_dense(model) + model.vocabulary))
    outputs = model.block * (model.vocabulary + model.hidden) + batch * model.features
    return Memory(
        _weights(side), cache_bytes(model, context), FLOAT * (graph + outputs) + HALF * (full + sliding) * batch
    )


def cells(model: Hyperparameters, context: ContextSettings) -> tuple[int, int]:
    """Cells of a full and of a sliding layer's cache: the window and one batch, if that is less than the context."""
    full = _padded(min(context.size, model.context))
    if context.swa_full:
        return full, full
    return full, _padded(min(full, model.sliding_window + _batch(model, context)))


def _batch(model: Hyperparameters, context: ContextSettings) -> int:
    return min(context.at_once, context.size, model.context)


def cache_bytes(model: Hyperparameters, context: ContextSettings) -> int:
    """Keys and values of all layers with a cache of their own."""
    return sum(layer_caches(model, context))


def layer_caches(model: Hyperparameters, context: ContextSettings) -> list[int]:
    """The same for each layer; those that share another's cache have none."""
    full, sliding = cells(model, context)
    own = range(model.layers - model.shared_kv_layers)
    keys, values = (GGMLType(CACHE_TYPES[kind]) for kind in (context.cache_k, context.cache_v))
    widths = {layer: model.kv_heads(layer) * model.head_dim(layer) for layer in own}
    found = [0] * model.layers
    for layer, width in widths.items():
        # Without flash attention values are stored transposed, and all layers get the widest one's room.
        value_width = max(widths.values()) if context.flash_attention == "off" else width
        row = row_bytes(keys, width) + row_bytes(values, value_width)
        found[layer] = (sliding if model.sliding[layer] else full) * row
    return found


def _weights(side: OpenModel) -> int:
    return sum(tensor.nbytes for tensor in side.tensors.values())


def _padded(count: int) -> int:
    return -(-count // CELLS) * CELLS


def _dense(model: Hyperparameters) -> int:
    """Floats of one token at the widest point of a layer: gate, up and their product beside the residual stream."""
    widest = max(model.layer_intermediate(layer) for layer in range(model.layers))
    query = _query(model)
    return max(3 * widest + 2 * model.hidden + query, 3 * query + 2 * model.hidden)


def _query(model: Hyperparameters) -> int:
    return model.heads * max(model.head_dim_full, model.head_dim_sliding)


def _experts(model: Hyperparameters) -> int:
    """The same for the mixture of experts: every chosen expert's gate, up, product and output."""
    if not model.experts:
        return 0
    return model.experts_used * (3 * model.expert_intermediate + model.hidden) + 4 * model.hidden


def _per_layer_input(model: Hyperparameters) -> int:
    """The per-layer embeddings of all layers, which live as long as the graph (twice: rows and projection)."""
    return 2 * model.layers * model.per_layer_input
