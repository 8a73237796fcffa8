"""Does a pair fit into GPUs and main memory, and if not: what is the smallest change that makes it fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_mtp.bench.at_hand import AtHand, at_hand
from gemma_mtp.bench.changes import Room, Setup, enough, first_that_fits, lender, out_of_reach
from gemma_mtp.errors import UsageError
from gemma_mtp.model.part import Part
from gemma_mtp.native import gpus
from gemma_mtp.native.server_line import llama_server
from gemma_mtp.native.settings import NO_DRAFTS, ContextSettings, Drafting, ModelSettings
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate.devices import RAM, Spread, device_names

#: Units of a size, as people and makers of memory mean them: a card of 16 GB has 16 GiB.
UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
#: The draft length of the command: what `bench` finds is better.
DRAFT = 3
RUNTIMES = (
    "for gemma-mtp run and llama-server; a program on libllama's defaults keeps a row of logits for each token of a "
    "batch, {more} more"
)
TORN = (
    "; the drafter is split over the GPUs like the target, and has copies of the caches that it reads on another one: "
    "-devd puts it on one device, here on {there}, where they are"
)


@dataclass(frozen=True)
class Fit:
    """fits: as asked. Otherwise `change` says in words what makes it fit, None if nothing was found.

    devices: bytes by device, with the change; room: what they have, None where it was not said. command: for
    llama-server, with the change; prepare: what has to be run before it, if anything. note: what the figures hold for.
    """

    fits: bool
    asked: Spread
    devices: Spread
    room: Room
    context: ContextSettings
    model: ModelSettings
    change: str | None
    prepare: str | None
    command: str | None
    note: str

    def to_dict(self) -> dict[str, object]:
        return {
            "fits": self.fits,
            "change": self.change,
            "prepare": self.prepare,
            "command": self.command,
            "devices": {name: {"room": size, **self.devices.on(name).to_dict()} for name, size in self.room.items()},
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


def parse_sizes(texts: Iterable[str]) -> tuple[int, ...]:
    """`12GB,8GB`, or the same in several words -> bytes of each. Raises UsageError."""
    return tuple(parse_size(part) for text in texts for part in text.split(","))


def fit(
    target: str | Path,
    assistant: str | Path | None,
    *,
    vram: int | Sequence[int],
    ram: int | None = None,
    context: ContextSettings | None = None,
    model: ModelSettings | None = None,
) -> Fit:
    """For a GPU with `vram` bytes (or several, in llama.cpp's order) and a machine with `ram`.

    ram: None: nobody knows, and it is not what it fails on. Only headers are read. Raises UsageError, GGUFError,
    BadFileError, EnvironmentProblem.
    """
    context, model = context or ContextSettings(), model or ModelSettings()
    sizes = (vram,) if isinstance(vram, int) else tuple(vram)
    gpus.require_count(model, len(sizes))
    with ExitStack() as stack:
        one = stack.enter_context(open_model(target, Part.TARGET))
        other = stack.enter_context(open_model(assistant, Part.ASSISTANT)) if assistant is not None else None
        for side in (one, other):
            if side is not None and isinstance(side.model, str):
                raise UsageError(f"what it takes cannot be told: {side.model}", where=side.place)
        context = replace(context, size=min(context.size, one.hyper.context))
        room = {**dict(zip(device_names(len(sizes)), sizes, strict=True)), RAM: ram}
        files = at_hand(one, target), None if other is None or assistant is None else at_hand(other, assistant)
        asked = Setup(one, other, context, model, files[1])
        if other is not None and (where := out_of_reach(asked, room)):
            raise UsageError(
                f"the drafter reads caches on {where}, which it cannot use there: llama.cpp aborts",
                hint=f"name {where}'s device in --device-draft, too, or leave that out",
            )
        needs = asked.spread(room)
        fits = enough(needs, room)
        found = asked if fits else first_that_fits(asked, room)
        chosen = found or asked
        return Fit(
            fits=fits,
            asked=needs,
            devices=chosen.spread(room),
            room=room,
            context=chosen.context,
            model=chosen.model,
            change=" and ".join(chosen.what) or None,
            prepare=_prepare(files[0], chosen.drafter) if found else None,
            command=_command(files[0].file, chosen) if found else None,
            note=_note(chosen, room),
        )


def _note(chosen: Setup, room: Room) -> str:
    """What the figures hold for, and where the drafter had better be."""
    more = (chosen.context.at_once - chosen.context.outputs) * chosen.target.hyper.vocabulary * 8
    there = lender(chosen, room) if chosen.assistant is not None else None
    return RUNTIMES.format(more=f"{more / 1e9:.1f} GB") + (TORN.format(there=there) if there else "")


def _prepare(*files: AtHand | None) -> str | None:
    """What brings them here, one after the other."""
    return " && ".join(file.command for file in files if file and file.command) or None


def _command(target: Path, chosen: Setup) -> str:
    """For llama-server."""
    drafter, model, drafting = chosen.drafter, chosen.model, NO_DRAFTS
    if chosen.assistant is not None:
        drafting = Drafting(DRAFT, method=chosen.assistant.family.name)
    if chosen.assistant is not None and 0 <= model.gpu_layers <= chosen.assistant.hyper.layers:
        layers = model.gpu_layers if model.gpu_layers_draft is None else model.gpu_layers_draft
        model = replace(model, gpu_layers_draft=layers)  # llama-server's -ngl is about the target alone
    return llama_server(target, drafter.file if drafter else None, drafting, chosen.context, model)
