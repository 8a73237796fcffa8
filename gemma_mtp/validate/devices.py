"""How much of a pair goes where: bytes on each GPU and in main memory, from headers alone, for llama.cpp's settings.

Which tensor goes where is llama.cpp's rule (src/llama-model.cpp, `load_tensors`; src/llama-arch.cpp for what counts as
input, layer or output): the input stays in main memory, of the layers and the output the last `gpu_layers` are on the
GPUs, split by `native.gpus`, and an override that fits a name comes before that. Buffers to compute in are as it plans
them for devices that do not exist (tests/validate/test_several_gpus.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter

from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.model.part import Part
from gemma_mtp.native import gpus
from gemma_mtp.native.placement import CPU, EXPERTS
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.memory import FLOAT, HALF, cells, drafter_memory, layer_caches, target_memory

GPU, RAM = "GPU", "RAM"
#: The tensors that are looked up row by row, before the first layer.
INPUTS = re.compile(r"(per_layer_)?token_embd\.weight$")
#: Tensors without a layer's number that llama.cpp makes with the first one.
WITH_FIRST = re.compile(r"(per_layer_(model_proj|proj_norm)|nextn\.pre_projection)\.weight$")
#: A small tensor that each device with a full layer has.
WITH_FULL = "rope_freqs.weight"
#: Load modes in which what is in main memory is the file, mapped (llama-model-loader.cpp, `use_mmap`).
MAPPED = ("auto", "mmap", "mmap+mlock")
#: What a GPU's driver and the kernels themselves take, which no header tells. On an H100 it was 552 MB before anything
#: was loaded, and 80 to 250 MB beyond what is reckoned here (`benchmarks/gpu.py --only memory`).
DRIVER = 800_000_000
LAYER = re.compile(r"blk\.(\d+)\.")
#: How often what goes from one device to another is kept where batches are computed in a pipeline
#: (ggml-backend.cpp, GGML_SCHED_MAX_COPIES).
COPIES = 4
#: Of a layer's experts in main memory the part that the GPU has a copy of at once, at most: the allocator's blocks fall
#: so that it was 0.45 to 0.8 in plans for 26B-A4B, with other contexts and batches.
EXPERTS_AT_ONCE = 0.8


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
    """Bytes by device: `GPU`, or of several `GPU0`, `GPU1`, ... in llama.cpp's order, and `RAM`, the last."""

    shares: dict[str, Share] = field(default_factory=dict)

    def on(self, device: str) -> Share:
        return self.shares[device]

    @property
    def ram(self) -> Share:
        return self.shares[RAM]

    @property
    def gpu(self) -> Share:
        """Of all GPUs together."""
        mine = [share for device, share in self.shares.items() if device != RAM]
        return Share(*(sum(getattr(share, name) for share in mine) for name in Share.__dataclass_fields__))

    @property
    def total(self) -> int:
        return sum(share.total for share in self.shares.values())

    def to_dict(self) -> dict[str, dict[str, int]]:
        return {device: share.to_dict() for device, share in self.shares.items()}


def device_names(count: int) -> tuple[str, ...]:
    """What so many GPUs are called here."""
    return (GPU,) if count == 1 else tuple(f"{GPU}{number}" for number in range(count))


def told(device: str) -> str:
    """A device's name in a sentence."""
    return "in RAM" if device == RAM else f"on the {device}" if device == GPU else f"on {device}"


@dataclass(frozen=True)
class Placed:
    """A model as its settings spread it. of_layer: each layer's device, and the output's. shares: GPU -> its part of
    what is split by rows. names: of all GPUs."""

    side: OpenModel
    model: ModelSettings
    of_layer: tuple[str, ...]
    shares: tuple[tuple[str, float], ...]
    names: tuple[str, ...]

    @property
    def output(self) -> str:
        return self.of_layer[-1]

    @property
    def lending(self) -> tuple[str, ...]:
        """The devices of the last two layers with a cache of their own, which an assistant reads: it must be able to
        use each of them, or llama.cpp aborts (`pre-allocated tensor ... cannot run the operation`)."""
        own = len(self.of_layer) - 1 - self.side.hyper.shared_kv_layers
        return tuple(dict.fromkeys(self.of_layer[own - 2 : own]))

    @property
    def copies(self) -> int:
        """llama-context.cpp: "enabling pipeline parallelism in the scheduler increases memory usage"."""
        whole = self.model.gpu_layers < 0 or self.model.gpu_layers > self.side.hyper.layers
        pipeline = len(self.shares) > 1 and whole and self.model.split_mode == "layer" and not self.model.overrides
        return COPIES if pipeline else 1

    @cached_property
    def tensors(self) -> list[tuple[str, TensorInfo, str]]:
        """With the device that each belongs to."""
        return [(name, one, self.chosen(name) or self._home(name)) for name, one in self.side.tensors.items()]

    def chosen(self, name: str) -> str | None:
        """Where an override puts a tensor."""
        return next((device for pattern, device in self._overrides if pattern.search(name)), None)

    @cached_property
    def _overrides(self) -> list[tuple[re.Pattern[str], str]]:
        """Those that follow each other and name the same device are one pattern."""
        known, there = gpus.named(self.model), len(self.names)
        found = []
        for device, same in groupby(self.model.overrides, key=itemgetter(1)):
            where = RAM if device.startswith(CPU) else self.names[gpus.number(device, known, there)]
            found.append((re.compile("|".join(f"(?:{pattern})" for pattern, _ in same)), where))
        return found

    def _home(self, name: str) -> str:
        """The device of a tensor's layer, or of the output."""
        if layer := LAYER.match(name):
            return self.of_layer[int(layer[1])]
        if INPUTS.search(name):
            return RAM
        return self.of_layer[0] if WITH_FIRST.search(name) else self.output


def spread(
    target: OpenModel,
    assistant: OpenModel | None,
    context: ContextSettings,
    model: ModelSettings,
    free: Sequence[int] = (),
) -> Spread:
    """What both take on each GPU and in main memory. The keys of both must have been found right.

    free: each GPU's memory, by which llama.cpp splits where no shares are said; none: as many alike as the settings
    name. A tied embedding is there twice if the output is on a GPU: rows are looked up in main memory.
    """
    free = free or (1,) * gpus.count(model)
    found = Spread({device: Share() for device in (*device_names(len(free)), RAM)})
    placed = place(target, model, gpus.named(model), free)
    _add(found, placed, context)
    if assistant is not None:
        before = {device: share.total for device, share in found.shares.items()}
        drafting = place(assistant, model.for_drafter(), gpus.named(model), free)
        _add(found, drafting, context, beside=placed)
        for device, share in found.shares.items():
            share.drafter = share.total - before[device]
    return found


def place(side: OpenModel, model: ModelSettings, named: Sequence[str], free: Sequence[int]) -> Placed:
    """named: what the target's devices are called."""
    names = device_names(len(free))
    layers, shares = gpus.by_layer(side.hyper.layers, model, named, free)
    where = tuple(RAM if one is None else names[one] for one in layers)
    return Placed(side, model, where, tuple((names[one], part) for one, part in shares), names)


def _add(found: Spread, placed: Placed, context: ContextSettings, beside: Placed | None = None) -> None:
    """A model's bytes, device by device. beside: the target, if this one drafts for it."""
    for device, size in _weights(placed):
        found.on(device).weights += size
    own = beside is None or bool(drafter_memory(placed.side, context).cache)
    if own:
        for layer, size in enumerate(layer_caches(placed.side.hyper, context)):
            for device, part in _split(placed, placed.of_layer[layer], size, rows=False):
                found.on(device).cache += part
    for device, size in _compute(placed, context, drafter=beside is not None).items():
        found.on(device).compute += size
    owner = placed if own or beside is None else beside
    for device, size in (*_halves(placed, owner, context).items(), *_copied_caches(placed, owner, context)):
        found.on(device).compute += size


def _split(placed: Placed, device: str, size: int, *, rows: bool) -> Iterator[tuple[str, int]]:
    """Of what belongs to a GPU the parts of all that share it. rows: whether it is a matrix, which `row` splits too."""
    whole = placed.model.split_mode != "tensor" and not (rows and placed.model.split_mode == "row")
    if whole or device == RAM:
        yield device, size
        return
    left = size
    for one, part in placed.shares[:-1]:
        left -= int(size * part)
        yield one, int(size * part)
    yield placed.shares[-1][0], left


def _weights(placed: Placed) -> Iterator[tuple[str, int]]:
    """(device, bytes) of each tensor."""
    for name, tensor, device in placed.tensors:
        rows = len(tensor.shape) == 2
        if placed.chosen(name) is not None:
            yield device, tensor.nbytes
        elif name == WITH_FULL:
            full = [placed.of_layer[layer] for layer, slides in enumerate(placed.side.hyper.sliding) if not slides]
            yield from ((one, tensor.nbytes) for one in dict.fromkeys(full))
        else:
            yield from _split(placed, device, tensor.nbytes, rows=rows)
            tied = name == "token_embd.weight" and "output.weight" not in placed.side.tensors
            # A target's is made as its output first, and then again (src/models/gemma4.cpp); a drafter's once.
            again = placed.side.part is Part.TARGET and placed.model.load_mode not in MAPPED
            if tied and (placed.output != RAM or again):
                yield from _split(placed, placed.output, tensor.nbytes, rows=rows)


def _compute(placed: Placed, context: ContextSettings, *, drafter: bool) -> Mapping[str, int]:
    """Buffers to compute in. The rows of logits that are handed out are in main memory."""
    side, hyper = placed.side, placed.side.hyper
    whole = (drafter_memory if drafter else target_memory)(side, context).compute
    rows = 1 if drafter else context.outputs
    outputs = FLOAT * rows * (hyper.vocabulary + (hyper.backbone if drafter else hyper.hidden))
    working = dict.fromkeys(device for device, _ in _weights(placed) if device != RAM)
    if not working:
        return {RAM: whole}
    batch = 1 if drafter else min(context.at_once, context.size, hyper.context)
    stream, masks = FLOAT * batch * hyper.hidden, HALF * batch * sum(cells(hyper, context))
    looked_up = FLOAT * batch * hyper.layers * hyper.per_layer_input
    inputs = stream + placed.copies * (stream + masks) + looked_up
    brought = max(_brought(placed, context).values(), default=0)
    found = {RAM: outputs + inputs + (stream if brought or placed.of_layer[0] == RAM else 0)}
    first = placed.shares[0][0]
    for device in dict.fromkeys((*([first] if brought else []), *working)):
        # A batch of a prompt is computed on a GPU whole, the first of several: what is in main memory is brought there.
        # In a pipeline what comes in, from main memory or from the GPU before, is kept several times.
        more = (placed.copies - 1) * (stream + masks + (looked_up if device == placed.of_layer[0] else 0))
        more += placed.copies * stream if placed.copies > 1 and device != first else 0
        found[device] = whole - outputs + more + (brought if device == first else 0)
    return found


def _brought(placed: Placed, context: ContextSettings) -> dict[int, int]:
    """Layer -> bytes that a GPU, while it computes the layer, has a copy of because they are in main memory: experts,
    the largest tensor, or the cache, whichever is most. llama.cpp plans no more than this, and often less."""
    found: dict[int, list[int]] = {}
    for name, tensor, device in placed.tensors:
        if device == RAM and (layer := LAYER.match(name)):
            sizes = found.setdefault(int(layer[1]), [0, 0])
            sizes[0] += int(EXPERTS_AT_ONCE * tensor.nbytes) if re.search(EXPERTS, name) else 0
            sizes[1] = max(sizes[1], tensor.nbytes)
    caches = layer_caches(placed.side.hyper, context)
    return {layer: max(*sizes, caches[layer] if placed.of_layer[layer] == RAM else 0) for layer, sizes in found.items()}


def _halves(reading: Placed, owner: Placed, context: ContextSettings) -> Mapping[str, int]:
    """The keys and values of one layer as f16, which CUDA's flash attention makes of caches of other types. They are
    not in what llama.cpp plans (ggml-cuda/fattn-common.cuh, `launch_fattn`), and grow with what is in the cache."""
    others = sum(kind != "f16" for kind in (context.cache_k, context.cache_v))
    if not others or context.flash_attention == "off":
        return {}
    caches = layer_caches(owner.side.hyper, replace(context, cache_k="f16", cache_v="f16"))
    # The last of a kind, and of a device, is the largest.
    largest = {slides: size for size, slides in sorted(zip(caches, owner.side.hyper.sliding, strict=True))}
    read = zip(reading.of_layer, reading.side.hyper.sliding, strict=False)
    sizes = ((largest.get(slides, 0) * others // 2, device) for device, slides in read if device != RAM)
    return {device: size for size, device in sorted(sizes)}


def _copied_caches(reading: Placed, owner: Placed, context: ContextSettings) -> Iterator[tuple[str, int]]:
    """(device, bytes) of the keys and values that layers without a cache of their own read from another device.

    Each of them has a copy. An assistant's layers read the target's, and a target's last ones may read earlier ones'.
    """
    caches, hyper = layer_caches(owner.side.hyper, context), reading.side.hyper
    for layer, slides in enumerate(hyper.sliding):
        if hyper.shares_kv(layer):
            read = [one for one, size in enumerate(caches) if size and owner.side.hyper.sliding[one] == slides]
            if read and owner.of_layer[read[-1]] != reading.of_layer[layer]:
                yield reading.of_layer[layer], reading.copies * caches[read[-1]]
