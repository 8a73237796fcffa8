"""An importance matrix of an assistant while it drafts, in llama.cpp's form.

llama-imatrix runs a model over texts; an assistant cannot run alone, and no tool feeds it what it drafts from. Here it
drafts at every position of recorded texts, and what each weight is multiplied with is squared and summed up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.adapt.batches import FIRST, Feed
from gemma_mtp.adapt.figures import CHAIN
from gemma_mtp.adapt.network import Network
from gemma_mtp.adapt.replay import TOKENS
from gemma_mtp.adapt.rounds import Batch, Tensor, no_gradients, rounds, steps_of
from gemma_mtp.adapt.signals import Place
from gemma_mtp.adapt.weights import EMBEDDING
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.quantize.imatrix import CHUNKS, COUNTS, DATASETS, SUMS

#: Tokens that a chunk is said to have (llama-imatrix's own number).
CHUNK_SIZE = 512


@dataclass
class Importance:
    """sums: weight -> squares of what it was multiplied with, summed, float64 [columns]. counts: how many rows."""

    sums: dict[str, Any]
    counts: dict[str, int]
    tokens: int = 0


@no_gradients
def observe(network: Network, feed: Feed, places: Sequence[Place], chain: int = CHAIN) -> Importance:
    """Draft at all positions of these pieces."""
    found = Importance(defaultdict(float), defaultdict(int), sum(place.length for place in places))
    for _, batch in feed.batches(places, TOKENS, chain):
        _watch(network, batch, chain, found)
    return found


def _watch(network: Network, batch: Batch, chain: int, found: Importance) -> None:
    valid = steps_of(batch.valid, FIRST, 0, chain)

    def see(name: str, x: Tensor) -> None:
        rows = x[valid].double()
        found.sums[name] = found.sums[name] + rows.pow(2).sum(0)
        found.counts[name] += len(rows)

    network.watch = see
    try:
        for y in rounds(network, batch, FIRST, chain, network.model.sliding_window):
            see(EMBEDDING, y)
    finally:
        network.watch = None


def write_imatrix(path: Path, importance: Importance, datasets: Sequence[str], force: bool = False) -> None:
    """llama.cpp's GGUF form (tools/imatrix/imatrix.cpp). Raises UsageError (it exists), EnvironmentProblem."""
    metadata = {
        "general.type": gv.string("imatrix"),
        DATASETS: gv.strings(list(datasets)),
        CHUNKS: gv.u32(max(1, importance.tokens // CHUNK_SIZE)),
        "imatrix.chunk_size": gv.u32(CHUNK_SIZE),
    }
    arrays = {}
    for name in sorted(importance.sums):
        sums = importance.sums[name].cpu().numpy().astype("<f4")
        arrays[name + SUMS] = sums.reshape(1, -1)
        arrays[name + COUNTS] = np.array([[importance.counts[name]]], "<f4")
    plans = [TensorPlan(name, array.shape, GGMLType.F32) for name, array in arrays.items()]
    with GGUFWriter(path, metadata, plans, force=force) as writer:
        for array in arrays.values():
            writer.write_next([array.tobytes()])
