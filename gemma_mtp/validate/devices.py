"""How much of a pair goes where: bytes on a GPU and in main memory, from headers alone, for llama.cpp's settings.

Which tensor goes where is llama.cpp's rule (src/llama-model.cpp, `load_tensors`): the input stays in main memory, of
the layers and the output the last `gpu_layers` are on the GPU, and an override that fits a name comes before that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.native.placement import NONE
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.memory import FLOAT, assistant_memory, cells, layer_caches, target_memory

GPU, RAM = "GPU", "RAM"
#: The tensors that are looked up row by row, before the first layer.
INPUTS = re.compile(r"(per_layer_)?token_embd\.weight$")
#: What a GPU's driver and the kernels themselves take, which no header tells. Assumed, on the safe side; not measured.
DRIVER = 500_000_000
LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass
class Share:
    """Bytes on one device. drafter: those of all of them that the assistant adds."""

    weights: int = 0
    cache: int = 0
    compute: int = 0
    drafter: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute

    def to_dict(self) -> dict[str, int]:
        return asdict(self) | {"total": self.total}


@dataclass
class Spread:
    """Bytes by device."""

    gpu: Share = field(default_factory=Share)
    ram: Share = field(default_factory=Share)

    def on(self, device: str) -> Share:
        return self.gpu if device == GPU else self.ram

    @property
    def total(self) -> int:
        return self.gpu.total + self.ram.total

    def to_dict(self) -> dict[str, dict[str, int]]:
        return {device: self.on(device).to_dict() for device in (GPU, RAM)}


def spread(target: OpenModel, assistant: OpenModel | None, context: ContextSettings, model: ModelSettings) -> Spread:
    """What both take on one GPU and in main memory. The keys of both must have been found right.

    A tied embedding is there twice if the output is on the GPU: rows are looked up in main memory.
    """
    found = Spread()
    _add(found, target, context, model, drafter=False)
    if assistant is not None:
        _add(found, assistant, context, model.for_drafter(), drafter=True)
    return found


def _add(found: Spread, side: OpenModel, context: ContextSettings, model: ModelSettings, *, drafter: bool) -> None:
    before = {device: found.on(device).total for device in (GPU, RAM)}
    for device, size in _weights(side, model):
        found.on(device).weights += size
    if not drafter:
        for layer, size in enumerate(layer_caches(side.hyper, context)):
            found.on(_device(side.hyper, model, layer)).cache += size
    for device, size in _compute(side, context, model, drafter=drafter).items():
        found.on(device).compute += size
    if drafter:
        for device in (GPU, RAM):
            found.on(device).drafter = found.on(device).total - before[device]


def _device(hyper: Hyperparameters, model: ModelSettings, layer: int) -> str:
    """Where a layer is; the output counts as the one after the last."""
    if model.device == NONE or model.gpu_layers == 0:
        return RAM
    first = 0 if model.gpu_layers < 0 else hyper.layers + 1 - model.gpu_layers
    return GPU if layer >= first else RAM


def _weights(side: OpenModel, model: ModelSettings) -> Iterator[tuple[str, int]]:
    """(device, bytes) of each tensor."""
    hyper = side.hyper
    output = _device(hyper, model, hyper.layers)
    overrides = [(re.compile(pattern), device) for pattern, device in model.overrides]
    for name, tensor in side.tensors.items():
        chosen = next((device for pattern, device in overrides if pattern.search(name)), None)
        if chosen is not None:
            yield (RAM if chosen.startswith("CPU") else GPU), tensor.nbytes
            continue
        if INPUTS.search(name):
            yield RAM, tensor.nbytes
            if name == "token_embd.weight" and "output.weight" not in side.tensors and output == GPU:
                yield GPU, tensor.nbytes
            continue
        layer = LAYER.match(name)
        yield _device(hyper, model, int(layer[1]) if layer else hyper.layers), tensor.nbytes


def _compute(side: OpenModel, context: ContextSettings, model: ModelSettings, *, drafter: bool) -> dict[str, int]:
    """Buffers to compute in. The rows of logits that are handed out are in main memory."""
    hyper = side.hyper
    whole = (assistant_memory if drafter else target_memory)(side, context).compute
    rows = 1 if drafter else context.outputs
    outputs = FLOAT * rows * (hyper.vocabulary + (hyper.backbone if drafter else hyper.hidden))
    if not any(device == GPU for device, _ in _weights(side, model)):
        return {RAM: whole}
    batch = 1 if drafter else min(context.at_once, context.size, hyper.context)
    full, sliding = cells(hyper, context)
    inputs = FLOAT * batch * (2 * hyper.hidden + 2 * hyper.layers * hyper.per_layer_input) + 2 * batch * (
        full + sliding
    )
    here = [tensor.nbytes for name, tensor in side.tensors.items() if _computed_on_gpu(side, name, model)]
    some_layers = _device(hyper, model, 0) == RAM or bool(here)
    ram = outputs + inputs + (whole - outputs if some_layers else 0)
    # A batch of a prompt is computed on the GPU whole: weights that are in main memory are brought there, one by one.
    return {GPU: whole - outputs + max(here, default=0), RAM: ram}


def _computed_on_gpu(side: OpenModel, name: str, model: ModelSettings) -> bool:
    """Whether a tensor of a layer is in main memory, while a GPU is there to compute with it."""
    layer = LAYER.match(name)
    if layer is None:
        return False
    for pattern, device in model.overrides:
        if re.search(pattern, name):
            return device.startswith("CPU")
    return _device(side.hyper, model, int(layer[1])) == RAM
