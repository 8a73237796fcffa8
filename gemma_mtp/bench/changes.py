"""What can be changed to make a pair fit, in the order of what it costs the user.

What leaves the output alone comes first: a smaller drafter, another split of the layers over several GPUs. Then what
changes it a little or takes the drafts away, then what costs speed: experts and layers in main memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_mtp.advice import bare
from gemma_mtp.bench.at_hand import AtHand, at_hand, is_gguf
from gemma_mtp.files.gguf_reader import planned_header
from gemma_mtp.ggml import FLOAT_TYPES
from gemma_mtp.model.family import DFLASH
from gemma_mtp.native import gpus
from gemma_mtp.native.placement import belonging
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.quantize.catalogue import default_output, planned
from gemma_mtp.quantize.plan import find_kind
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.devices import DRIVER, RAM, Spread, place, spread

#: What is left free beside the estimate, which may be off by so much.
RESERVE = 0.05
#: Types of the KV cache and of a float drafter to try.
SMALLER_CACHES, SMALLER_DRAFTERS = ("q8_0", "q4_0"), ("Q8_0", "Q4_0")
#: Bytes that each device has; None: nobody knows, and it is not what it fails on. GPUs in llama.cpp's order.
Room = Mapping[str, int | None]


@dataclass(frozen=True)
class Setup:
    """What is run. what: in words, how it differs from what was asked. drafter: the assistant's file."""

    target: OpenModel
    assistant: OpenModel | None
    context: ContextSettings
    model: ModelSettings
    drafter: AtHand | None
    what: tuple[str, ...] = ()

    def spread(self, room: Room) -> Spread:
        return spread(self.target, self.assistant, self.context, self.model, memory(room))

    def but(self, words: str, *, first: bool = False, **changes: object) -> Setup:
        """The same with fields of the settings changed. first: these words go before the others."""
        context = replace(self.context, **belonging(changes, ContextSettings))
        model = replace(self.model, **belonging(changes, ModelSettings))
        what = (words, *self.what) if first else (*self.what, words)
        return replace(self, context=context, model=model, what=what)


def memory(room: Room) -> tuple[int, ...]:
    """Of the GPUs."""
    return tuple(size or 0 for device, size in room.items() if device != RAM)


def slack(needs: Spread, room: Room) -> dict[str, int]:
    """What is left on each device, below 0 if it is too little: beside a driver, and what an estimate may be off by."""
    found = {}
    for device, size in room.items():
        share = needs.on(device)
        driver = DRIVER if device != RAM and share.total else 0
        found[device] = 0 if size is None else int(size * (1 - RESERVE)) - share.total - driver
    return found


def enough(needs: Spread, room: Room) -> bool:
    """Whether there is room for it everywhere."""
    return min(slack(needs, room).values()) >= 0


def first_that_fits(asked: Setup, room: Room) -> Setup | None:
    """Of what costs least."""
    for one in changes(asked, room):
        needs = one.spread(room)
        if enough(needs, room):
            return one
        if (other := resplit(one, room, needs)) is not None:
            return other
    return None


def changes(asked: Setup, room: Room) -> Iterator[Setup]:
    """In the order of what they cost; with each cache as many experts, then layers in RAM as are needed."""
    drafters = list(drafters_of(asked, room))
    light = [*drafters, *cached(drafters, SMALLER_CACHES[0])]
    yield from light if len(room) > 2 else light[1:]
    if asked.assistant is not None:
        yield replace(asked, assistant=None, drafter=None, what=("no drafter",))
    layers = asked.target.hyper.layers
    if asked.target.hyper.experts:
        for count in range(asked.model.n_cpu_moe + 1, layers + 1):
            words = f"the experts of {count} of {layers} layers in RAM"
            yield from (one.but(words, first=True, n_cpu_moe=count) for one in light)
    yield from cached(drafters, SMALLER_CACHES[1])
    # Two layers at least, and the output: the drafter reads the cache of the last two, and must be where they are.
    given = asked.model.gpu_layers
    most = layers + 1 if given < 0 else min(given, layers + 1)
    for count in [*range(most - 1, 2, -1), 0]:
        words = f"{count} of {layers + 1} layers on the GPU" if count else "no layers on the GPU"
        yield from (one.but(words, first=True, gpu_layers=count) for one in light)


def lender(asked: Setup, room: Room) -> str | None:
    """Of several GPUs the one that has the caches which a drafter, split over all, reads; None: there is none."""
    placed = place(asked.target, asked.model, gpus.named(asked.model), memory(room))
    torn = len(room) > 2 and asked.model.device_draft is None and asked.model.split_mode == "layer"
    return placed.lending[0] if torn and len(placed.lending) == 1 and placed.lending[0] != RAM else None


def out_of_reach(asked: Setup, room: Room) -> str | None:
    """A GPU with caches that the drafter reads, and which is none of its own."""
    names, free = gpus.named(asked.model), memory(room)
    mine = gpus.used(asked.model.for_drafter(), names, len(free))
    within = {RAM, *([*room][number] for number in mine)}
    return next((one for one in place(asked.target, asked.model, names, free).lending if one not in within), None)


def cached(setups: Sequence[Setup], kind: str) -> Iterator[Setup]:
    """With a KV cache of this type, where it is one of floats."""
    for one in setups:
        if one.context.cache_k in ("f16", "f32", "bf16"):
            yield one.but(f"a KV cache of {kind}", cache_k=kind, cache_v=kind, flash_attention="on")


def drafters_of(asked: Setup, room: Room) -> Iterator[Setup]:
    """As it is; a float one quantized. Of several GPUs it has the last one, if the caches that it reads are there: that
    is better in any case, but llama.cpp has to be told its name."""
    names, side = gpus.named(asked.model), asked.assistant
    if side is not None and names and lender(asked, room) == [*room][-2]:
        asked = asked.but(f"the drafter on {names[-1]}", device_draft=names[-1])
    yield asked
    if side is None:
        return
    if any(tensor.type not in FLOAT_TYPES for tensor in side.tensors.values() if len(tensor.shape) > 1):
        return
    if side.family is DFLASH and not is_gguf(side):  # it would be converted with its target's tokenizer
        return
    for kind in SMALLER_DRAFTERS:
        made = asked.but(f"the drafter in {kind}")
        yield replace(made, assistant=quantized(side, kind), drafter=made_of(side, asked.drafter, kind))


def quantized(side: OpenModel, kind: str) -> OpenModel:
    """The header that the model would have in this type, as far as sizes go."""
    plans = planned(find_kind(kind), side)
    return replace(side, header=planned_header(side.metadata, plans, side.place))


def made_of(side: OpenModel, now: AtHand | None, kind: str) -> AtHand:
    """The drafter in this type, beside a file that is here, in this folder of any other."""
    source = str(side.source)
    if not is_gguf(side):
        return at_hand(side, source, kind)
    here = now.file if now and not now.command else Path(Path(side.place).name)
    file = default_output(here, kind)
    return AtHand(file, bare("quantize", source, file, kind))


def resplit(setup: Setup, room: Room, needs: Spread) -> Setup | None:
    """With another split of the layers over several GPUs, if one fits: from the GPU that lacks most, layer by layer, to
    the one that has most."""
    if len(room) < 3 or setup.model.split_mode != "layer":
        return None
    devices = [device for device in room if device != RAM]
    where = place(setup.target, setup.model, gpus.named(setup.model), memory(room)).of_layer
    counts = {device: where.count(device) for device in devices}
    for _ in where:
        left = slack(needs, room)
        if min(left.values()) >= 0:
            split = ",".join(map(str, counts.values()))
            return replace(setup, what=(f"the layers split {split}", *setup.what))
        poorest, richest = (choose(devices, key=left.__getitem__) for choose in (min, max))
        if sum(left[device] for device in devices) < 0 or left[poorest] >= 0 or counts[poorest] < 2:
            return None
        counts[poorest] -= 1
        counts[richest] += 1
        setup = replace(setup, model=replace(setup.model, tensor_split=tuple(map(float, counts.values()))))
        needs = setup.spread(room)
    return None
