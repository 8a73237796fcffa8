"""Which tensors a side must have and may have, by their names in its dialect. Shapes come from the model's roles.

Beyond the roles, llama.cpp's loader takes some tensors in another cut, which other tools write: `ALTERNATIVES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.family import slots
from gemma_mtp.model.part import Part
from gemma_mtp.model.roles import ROPE_FREQS, Role, Slot
from gemma_mtp.sources.model import OpenModel

#: Optional factors that llama.cpp looks for beside a weight (NVFP4 files have them).
FACTORS = (".scale", ".input_scale")


@dataclass(frozen=True)
class Alternative:
    """`roles` may stand in a file instead of the roles named in `instead_of`."""

    roles: tuple[Role, ...]
    instead_of: tuple[str, ...]


def _qkv_rows(h: Hyperparameters, layer: int) -> tuple[int, ...]:
    return ((h.heads + 2 * h.kv_heads(layer)) * h.head_dim(layer), h.hidden)


def _expert_rows(h: Hyperparameters, _: int) -> tuple[int, ...]:
    return (h.experts, h.expert_intermediate, h.hidden)


#: Source: llama.cpp, src/models/gemma4.cpp `load_arch_tensors`.
ALTERNATIVES = (
    Alternative((Role("attn_qkv", "", _qkv_rows),), ("attn_q", "attn_k", "attn_v")),
    Alternative(
        (Role("ffn_gate_exps", "", _expert_rows), Role("ffn_up_exps", "", _expert_rows)), ("ffn_gate_up_exps",)
    ),
)
UNTIED_OUTPUT = Role("output", "", lambda h, _: (h.vocabulary, h.hidden), layered=False)


@dataclass(frozen=True)
class Expected:
    """Slots by the tensor's name in the file. `needed` is part of `allowed`."""

    needed: dict[str, Slot]
    allowed: dict[str, Slot]


def expected(side: OpenModel) -> Expected:
    """The tensors of a side whose keys were found right; a cut that the file has replaces the usual one."""
    model = side.hyper
    needed, allowed = {}, {}
    has_factors = model.proportional_rope and not all(model.sliding)
    for slot in (*slots(model), *([Slot(ROPE_FREQS, None)] if has_factors else ())):
        name = side.tensor_name(slot)
        if name is not None:
            allowed[name] = slot
            if slot.role is ROPE_FREQS or slot.needed(model):
                needed[name] = slot
    if side.part == Part.TARGET:
        allowed[Slot(UNTIED_OUTPUT, None).mainline_name] = Slot(UNTIED_OUTPUT, None)
        for layer in range(model.layers):
            for alternative in ALTERNATIVES:
                _replace(side, alternative, layer, needed, allowed)
    return Expected(needed, allowed)


def _replace(
    side: OpenModel, alternative: Alternative, layer: int, needed: dict[str, Slot], allowed: dict[str, Slot]
) -> None:
    new = {slot.mainline_name: slot for slot in (Slot(role, layer) for role in alternative.roles)}
    if not new.keys() & side.tensors.keys():
        return
    for role in alternative.instead_of:
        needed.pop(f"blk.{layer}.{role}.weight", None)
        allowed.pop(f"blk.{layer}.{role}.weight", None)
    needed.update(new)
    allowed.update(new)


def surplus(side: OpenModel, wanted: Expected) -> Iterator[str]:
    """The file's tensors that have no place in the model."""
    for name in side.tensors:
        factor_of = next((name.removesuffix(ending) for ending in FACTORS if name.endswith(ending)), None)
        if name not in wanted.allowed and (factor_of is None or f"{factor_of}.weight" not in side.tensors):
            yield name
