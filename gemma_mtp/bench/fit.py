"""Does a pair fit into a GPU and main memory, and if not: what is the smallest change that makes it fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_mtp.errors import UsageError
from gemma_mtp.model.part import Part
from gemma_mtp.native.server_line import llama_server
from gemma_mtp.native.settings import NO_DRAFTS, ContextSettings, Drafting, ModelSettings
from gemma_mtp.sources.drafting import of_file
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate.devices import DRIVER, GPU, RAM, Spread, spread

#: Units of a size, as people and makers of memory mean them: a card of 16 GB has 16 GiB.
UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
#: What is left free beside the estimate, which may be off by so much.
RESERVE = 0.05
#: Types of the KV cache to try, and the draft length of the command: what `bench` finds is better.
SMALLER_CACHES = ("q8_0", "q4_0")
DRAFT = 3
RUNTIMES = (
    "for gemma-mtp run and llama-server; a program on libllama's defaults keeps a row of logits for each token of a "
    "batch, {more} more"
)


@dataclass(frozen=True)
class Fit:
    """fits: as asked. Otherwise `change` says in words what makes it fit, None if nothing was found.

    devices: bytes by device, for `settings`; room: what they have, None where it was not said. command: for
    llama-server, with the change. note: what the figures hold for.
    """

    fits: bool
    asked: Spread
    devices: Spread
    room: dict[str, int | None]
    context: ContextSettings
    model: ModelSettings
    change: str | None
    command: str | None
    note: str

    def to_dict(self) -> dict[str, object]:
        return {
            "fits": self.fits,
            "change": self.change,
            "command": self.command,
            "devices": {name: {"room": self.room[name], **self.devices.on(name).to_dict()} for name in (GPU, RAM)},
            "asked": self.asked.to_dict(),
            "tokens": self.context.size,
            "note": self.note,
        }


def parse_size(text: str) -> int:
    """'16GB' -> bytes; of 1,024 as memory is sold. Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no size", hint="write it like 16GB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def fit(
    target: str | Path,
    assistant: str | Path | None,
    *,
    vram: int,
    ram: int | None = None,
    context: ContextSettings | None = None,
    model: ModelSettings | None = None,
) -> Fit:
    """For one GPU with `vram` bytes and a machine with `ram`; None: nobody knows, and it is not what it fails on.

    Only headers are read. Raises UsageError, GGUFError, BadFileError, EnvironmentProblem.
    """
    context, model = context or ContextSettings(), model or ModelSettings()
    with ExitStack() as stack:
        one = stack.enter_context(open_model(target, Part.TARGET))
        other = stack.enter_context(open_model(assistant, Part.ASSISTANT)) if assistant is not None else None
        for side in (one, other):
            if side is not None and isinstance(side.model, str):
                raise UsageError(f"what it takes cannot be told: {side.model}", where=side.place)
        context = replace(context, size=min(context.size, one.hyper.context))
        room = {GPU: vram, RAM: ram}
        asked = spread(one, other, context, model)
        fits = enough(asked, room)
        # Of those that cost least the first that fits: a cache of 8 bits, then experts in RAM, then fewer layers.
        tried = [Change("", context, model)] if fits else changes(one, context, model)
        change = next((each for each in tried if enough(spread(one, other, each.context, each.model), room)), None)
        chosen = change or Change("", context, model)
        more = (context.at_once - context.outputs) * one.hyper.vocabulary * 8
        return Fit(
            fits=fits,
            asked=asked,
            devices=spread(one, other, chosen.context, chosen.model),
            room=room,
            context=chosen.context,
            model=chosen.model,
            change=chosen.what or None,
            command=_command(target, assistant, chosen) if change else None,
            note=RUNTIMES.format(more=f"{more / 1e9:.1f} GB"),
        )


def enough(needs: Spread, room: dict[str, int | None]) -> bool:
    """Whether there is room for it, for a GPU's driver, and for what an estimate may be off."""
    free = {name: None if size is None else int(size * (1 - RESERVE)) for name, size in room.items()}
    gpu, ram = free[GPU], free[RAM]
    driver = DRIVER if needs.gpu.total else 0
    return (gpu is None or needs.gpu.total + driver <= gpu) and (ram is None or needs.ram.total <= ram)


@dataclass(frozen=True)
class Change:
    """What to change, in words, and the settings with it."""

    what: str
    context: ContextSettings
    model: ModelSettings


def changes(target: OpenModel, context: ContextSettings, model: ModelSettings) -> Iterator[Change]:
    """In the order of what they cost; with each cache as many experts, then layers in RAM as are needed."""
    layers = target.hyper.layers
    caches = [(context, "")]
    if context.cache_k in ("f16", "f32", "bf16"):
        caches += [
            (replace(context, cache_k=kind, cache_v=kind, flash_attention="on"), f"a KV cache of {kind}")
            for kind in SMALLER_CACHES
        ]
    yield from (Change(words, smaller, model) for smaller, words in caches[1:2])
    if target.hyper.experts:
        for count in range(model.n_cpu_moe + 1, layers + 1):
            words = f"the experts of {count} of {layers} layers in RAM"
            yield from (
                Change(" and ".join(filter(None, (words, cache))), smaller, replace(model, n_cpu_moe=count))
                for smaller, cache in caches[:2]
            )
    yield from (Change(words, smaller, model) for smaller, words in caches[2:])
    # Two layers at least, and the output: the drafter reads the cache of the last two, and must be where they are.
    most = layers + 1 if model.gpu_layers < 0 else min(model.gpu_layers, layers + 1)
    for count in [*range(most - 1, 2, -1), 0]:
        words = f"{count} of {layers + 1} layers on the GPU" if count else "no layers on the GPU"
        yield from (
            Change(" and ".join(filter(None, (words, cache))), smaller, replace(model, gpu_layers=count))
            for smaller, cache in caches[:2]
        )


def _command(target: str | Path, assistant: str | Path | None, change: Change) -> str:
    drafter = None if assistant is None else Path(str(assistant))
    drafting = NO_DRAFTS if drafter is None else Drafting(DRAFT)
    if drafter is not None and drafter.is_file():  # what is on the Hub is not read again: it is taken for an assistant
        drafting = of_file(drafting, drafter)
    return llama_server(Path(str(target)), drafter, drafting, change.context, change.model)
