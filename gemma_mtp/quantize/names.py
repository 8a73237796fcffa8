"""From a tensor's name in a GGUF, of whichever dialect, to its role and its layer."""

from __future__ import annotations

import re
from functools import cache

from gemma_mtp.model.family import FAMILIES

_LAYER = re.compile(r"blk\.(\d+)\.")


def layer_of(name: str) -> int:
    """The number in `blk.N.`; -1 for a tensor outside the layers."""
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def role_of(name: str) -> str:
    """`blk.3.ffn_down.weight` -> `ffn_down`; scales keep their ending: `ffn_down_exps.scale`."""
    return _spellings().get(name) or _LAYER.sub("", name, count=1).removesuffix(".weight")


def llama_order(name: str) -> tuple[int, bytes]:
    """The sort key of llama.cpp's tensors: those outside the layers, then layer by layer, each by name."""
    return layer_of(name), name.encode()


@cache
def _spellings() -> dict[str, str]:
    """Full tensor name -> role, where a dialect spells a role in its own way."""
    dialects = (dialect for family in FAMILIES.values() for dialect in family.dialects.values())
    return {name: role for dialect in dialects for role, name in dialect.tensors.items() if name}
