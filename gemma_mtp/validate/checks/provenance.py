"""Hints from names: nothing in a GGUF says for sure that it is QAT or a fine-tune, but people should hear of it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from gemma_mtp.validate.checks.attachment import SIZES
from gemma_mtp.validate.findings import Finding, ok, warning
from gemma_mtp.validate.pair import Pair
from gemma_mtp.validate.side import Side

NAME_KEYS = ("general.name", "general.basename", "general.finetune", "general.base_model.0.name")
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
        "measure it: gemma-mtp verify --run",
        name,
    )
