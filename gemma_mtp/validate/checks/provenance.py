"""Where files come from, by hints: nothing in a GGUF says for sure that it is QAT, a fine-tune, or an old tool's."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from gemma_mtp.advice import ours
from gemma_mtp.errors import UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.quantize.types import FILE_TYPES, FileType
from gemma_mtp.validate.checks.attachment import SIZES
from gemma_mtp.validate.findings import Finding, note, ok, warning
from gemma_mtp.validate.pair import Pair
from gemma_mtp.validate.side import Side

NAME_KEYS = ("general.name", "general.basename", "general.finetune", "general.base_model.0.name")
FFN_DOWN = re.compile(r"blk\.\d+\.ffn_down\.weight")
QAT = re.compile(r"(?<![a-z])qat(?![a-z])", re.IGNORECASE)
#: Words of `general.finetune` that official releases and their assistants have.
OFFICIAL = {"it", "pt", "qat", "q4", "0", "q4_0", "unquantized", "mtp", "assistant", "text", ""}


def _names(side: Side) -> str:
    return " ".join([*(side.text(key) for key in NAME_KEYS), PurePosixPath(side.place).name])


def qat(pair: Pair) -> Finding:
    """Quantization-aware training: both or neither, as far as names tell."""
    has, wants = (bool(QAT.search(_names(side))) for side in (pair.target, pair.assistant))
    values = ["QAT" if flag else "not QAT" for flag in (has, wants)]
    if has == wants:
        return ok(*values)
    return warning(
        f"by their names only the {'target' if has else 'assistant'} is QAT; the pair works, but fewer drafts "
        "are accepted",
        f"use the {'`-qat-...-assistant`' if has else 'assistant without `qat` in its name'}",
        *values,
    )


def fine_tune(pair: Pair) -> Finding:
    """Whether the target looks like Google's release. Known for the published sizes alone."""
    side = pair.target
    name, extra = side.text("general.name"), side.text("general.finetune")
    if side.hyper.hidden not in SIZES:
        return ok(name)
    foreign = set(re.split(r"[\s_-]+", extra.lower())) - OFFICIAL
    if "gemma" in (name or "gemma").lower() and not foreign:
        return ok(name)
    return warning(
        f"the target looks like a fine-tune ({extra if foreign else name}): the assistant was trained for Google's "
        "release, how many drafts are accepted is unknown",
        f"measure it: {ours('verify', side.place, pair.assistant.place, options={'--run': None})}",
        name,
    )


def old_mix(pair: Pair) -> Finding:
    """Mixes are today's: until June 2026 llama-quantize gave every `ffn_down` of an assistant the larger type."""
    from gemma_mtp.quantize.plan import OVERRIDES_KEY, RECIPE_KEY

    side = pair.assistant
    stored = side.metadata.get("general.file_type")
    mixes = (kind for kind in FILE_TYPES.values() if kind.base not in FLOAT_TYPES)
    mix = next((kind for kind in mixes if stored == gv.u32(kind.number)), None)
    downs = [name for name in side.tensors if FFN_DOWN.fullmatch(name)]
    if mix is None or side.dialect is not MAINLINE or {RECIPE_KEY, OVERRIDES_KEY} & side.metadata.keys() or not downs:
        return ok("", mix.name if mix else "")
    found, planned = {side.tensors[name].type for name in downs}, _planned(side, mix, downs)
    if len(found) > 1 or not found < planned:
        return ok("", mix.name)
    kind = next(iter(found)).name
    return note(
        f"all of the assistant's ffn_down are {kind}, where a {mix.name} of today mixes "
        f"{' and '.join(sorted(kind.name for kind in planned))}: quantized by a llama-quantize of before June 25, "
        "2026. The size differs a little, the quality is fine",
        "",
        f"{mix.name}, ffn_down {kind}",
    )


def _planned(side: Side, mix: FileType, names: list[str]) -> set[GGMLType]:
    """The types that `names` have in a file of this mix that is made today; empty if none can be made."""
    from gemma_mtp.quantize.plan import plan_types

    plans = [TensorPlan(tensor.name, tensor.shape, tensor.type) for tensor in side.tensors.values()]
    try:
        types = plan_types(mix, side.metadata, plans, importance=side.tensors.keys())
    except UsageError:  # a width that fits no type
        return set()
    return {kind for plan, kind in zip(plans, types, strict=True) if plan.name in names}
