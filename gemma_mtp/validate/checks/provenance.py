"""Where files come from, by hints: nothing in a GGUF says for sure that it is QAT, a fine-tune, or an old tool's."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from gemma_mtp.advice import ours
from gemma_mtp.errors import UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.family import FAMILY
from gemma_mtp.model.file_type import RECIPE_KEY
from gemma_mtp.model.roles import Slot
from gemma_mtp.quantize.types import FILE_TYPES, FileType
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.validate.findings import Finding, note, ok, skipped, warning
from gemma_mtp.validate.pair import Pair
from gemma_mtp.validate.tensor_names import UNTIED_OUTPUT

NAME_KEYS = ("general.name", "general.basename", "general.finetune", "general.base_model.0.name")
FFN_DOWN = re.compile(r"blk\.\d+\.ffn_down\.weight")
QAT = re.compile(r"(?<![a-z])qat(?![a-z])", re.IGNORECASE)
#: Words that the names of Google's releases, of their assistants and of plain conversions are made of.
OFFICIAL = re.compile(
    r"google|gemma|it|pt|qat|q4|0|q4_0|unquantized|mtp|assistant|text|gguf|instruct|\d+|[\d.]+[bm]|e[24]b|a4b|"
    r"(bf|f|fp)(16|32)|i?q\d\w*|k|xl|s|m|l|mostly|unsloth|ud"
)
#: Beginnings of words that say that a model was trained, merged or cut after its release.
MARKS = (
    *("heretic", "ablit", "obliterat", "uncensor", "decensor", "derestrict", "unrestrict", "jailbr", "lorablated"),
    *("finetun", "fine-tun", "finetuned", "merge", "lora", "dpo", "orpo", "grpo", "sft", "distill", "roleplay", "nsfw"),
    *("frankenmerge", "prune", "reap", "slerp", "dare"),
)
#: Keys with names, with all that a file says of itself, and with those whose models it was made from.
NAMES = re.compile(r"general\.(name|basename|base_model\.\d+\.name)")
SELF = re.compile(r"general\.(name|basename|finetune|description|repo_url|base_model\.\d+\.(name|repo_url))")
MAKERS = re.compile(r"general\.base_model\.\d+\.organization")


def _names(side: OpenModel) -> str:
    return " ".join([*(side.text(key) for key in NAME_KEYS), PurePosixPath(side.place).name])


def qat(pair: Pair) -> Finding:
    """Quantization-aware training: both or neither, as far as names tell."""
    has, wants = (bool(QAT.search(_names(side))) for side in (pair.target, pair.assistant))
    values = ["QAT" if flag else "not QAT" for flag in (has, wants)]
    if has != wants:
        return warning(
            f"by their names only the {'target' if has else 'assistant'} is QAT; the pair works, but fewer drafts "
            "are accepted",
            f"use the {'`-qat-...-assistant`' if has else 'assistant without `qat` in its name'}",
            *values,
        )
    nameless = [side.part for side in (pair.target, pair.assistant) if "gemma" not in _names(side).lower()]
    if nameless and not has:
        return skipped(f"the {nameless[0]}'s names do not say what release it is")
    return ok(*values)


def fine_tune(pair: Pair) -> Finding:
    """Whether the target looks like Google's release: by its names, tags and base models, its head and its width."""
    side = pair.target
    name = side.text("general.name")
    changed = _sign_of_change(side)
    if changed:
        return warning(
            f"the target looks like a fine-tune ({changed}): the assistant was trained for Google's release, how many "
            "drafts are accepted is unknown",
            f"measure it: {ours('verify', side.place, pair.assistant.place, options={'--run': None})}",
            name,
        )
    if side.hyper.hidden not in FAMILY.sizes:
        return skipped(f"no release is {side.hyper.hidden:,} wide: there is nothing to compare with", name)
    if "gemma" not in " ".join(_texts(side, NAMES)).lower():
        return skipped("the file does not say what it is: general.name is missing")
    makers = {maker.lower() for maker in _texts(side, MAKERS)} - {"google"}
    if makers:
        of = ", ".join(sorted(makers))
        return skipped(f"it was made from a model of {of}: whether that is Google's is not known", name)
    return ok(name)


def _sign_of_change(side: OpenModel) -> str:
    """What says that a model is not as it was released; empty if nothing does."""
    tags = side.metadata.get("general.tags")
    said: list[str] = [
        *_texts(side, SELF),
        *(tags.decode() if tags is not None and tags.is_array_of(ValueType.STRING) else ()),
    ]
    for text in (*said, PurePosixPath(side.place).name):
        if any(word.startswith(MARKS) for word in _words(text)):
            return text
    finetune = side.text("general.finetune")
    if any(not OFFICIAL.fullmatch(word) for word in _words(finetune)):
        return finetune
    foreign = (text for text in _texts(side, NAMES) if any(not OFFICIAL.fullmatch(word) for word in _words(text)))
    if side.hyper.hidden in FAMILY.sizes and (first := next(foreign, "")):
        return first
    return "a head of its own, output.weight" if Slot(UNTIED_OUTPUT, None).mainline_name in side.tensors else ""


def _texts(side: OpenModel, keys: re.Pattern[str]) -> list[str]:
    return [text for key in side.metadata if keys.fullmatch(key) and (text := side.text(key))]


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s_/,()+-]+", text.lower()) if word]


def old_mix(side: OpenModel) -> Finding:
    """Mixes are today's: until June 2026 llama-quantize gave every `ffn_down` of an assistant the larger type."""
    from gemma_mtp.quantize.plan import OVERRIDES_KEY

    stored = side.metadata.get("general.file_type")
    mixes = (kind for kind in FILE_TYPES.values() if kind.base not in FLOAT_TYPES)
    mix = next((kind for kind in mixes if stored == gv.u32(kind.number)), None)
    downs = [name for name in side.tensors if FFN_DOWN.fullmatch(name)]
    if mix is None or side.dialect is not MAINLINE or {RECIPE_KEY, OVERRIDES_KEY} & side.metadata.keys() or not downs:
        return skipped("it is in no mix that could be compared with today's")
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


def _planned(side: OpenModel, mix: FileType, names: list[str]) -> set[GGMLType]:
    """The types that `names` have in a file of this mix that is made today; empty if none can be made."""
    from gemma_mtp.quantize.plan import plan_types

    plans = list(side.tensors.values())
    try:
        types = plan_types(mix, side.metadata, plans, importance=side.tensors.keys())
    except UsageError:  # a width that fits no type
        return set()
    return {kind for plan, kind in zip(plans, types, strict=True) if plan.name in names}
