"""How each GGUF dialect spells an assistant: architecture, keys, tensor names. Data, not code.

The same assistant is published in three forms that cannot read each other. Mainline's is the plain one (role names and
mainline keys); the other dialects list where they differ. Sources: the three runtimes' loaders and files in the wild.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


def _table(**entries: str | None) -> Mapping[str, str | None]:
    return MappingProxyType(entries)


@dataclass(frozen=True)
class Dialect:
    """One spelling of an assistant.

    architecture: `general.architecture`, which is also the prefix of the model's keys.
    keys: how mainline's keys (without prefix) are called here; None: this dialect has no such key.
    tensors: the same for tensors outside the layers, whose names here are given in full.
    constants: keys that this dialect adds, with their value.
    runtimes: what loads it, for people.
    """

    name: str
    architecture: str
    runtimes: str
    keys: Mapping[str, str | None] = field(default_factory=_table)
    tensors: Mapping[str, str | None] = field(default_factory=_table)
    constants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


#: Keys of the centroid head. Mainline has none of its own; these names are ours, and its loader skips them.
CENTROID_KEYS = {
    "count": "mtp.centroid_count",
    "top_k": "mtp.centroid_top_k",
    "centroids": "mtp.centroids",
    "token_ordering": "mtp.token_ordering",
}

MAINLINE = Dialect(
    name="mainline",
    architecture="gemma4-assistant",
    runtimes="llama.cpp since June 2026 and what is built on it; ik_llama.cpp since June 19, 2026",
    # Mainline's graph ignores the centroid head, and a file with its tensors does not load: metadata arrays carry it.
    tensors=_table(centroids=None, token_ordering=None),
)

IK = Dialect(
    name="ik",
    architecture="gemma4_mtp",
    runtimes="ik_llama.cpp since May 10, 2026",
    keys=_table(
        embedding_length_out="backbone_embedding_length",
        nextn_predict_layers=None,
        **{CENTROID_KEYS["count"]: "centroid_count", CENTROID_KEYS["top_k"]: "centroid_top_k"},
    ),
    tensors=MappingProxyType(
        {
            "nextn.pre_projection": "mtp_pre_proj.weight",
            "nextn.post_projection": "mtp_post_proj.weight",
            "centroids": "mtp_centroids.weight",
            "token_ordering": "mtp_token_ordering.weight",
            "rope_freqs": None,
        }
    ),
)

ATOMIC = Dialect(
    name="atomic",
    architecture="gemma4_assistant",
    runtimes="AtomicChat's fork before b10018 (July 2026)",
    keys=_table(
        embedding_length_out="n_embd_backbone",
        nextn_predict_layers=None,
        **{CENTROID_KEYS["count"]: "n_centroids", CENTROID_KEYS["top_k"]: "centroid_top_k"},
    ),
    tensors=MappingProxyType(
        {
            "nextn.pre_projection": "mtp.pre_projection.weight",
            "nextn.post_projection": "mtp.post_projection.weight",
            "centroids": "mtp.centroids.weight",
            "token_ordering": "mtp.token_ordering.weight",
        }
    ),
    constants=MappingProxyType({"requires_target_arch": "gemma4"}),
)

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (MAINLINE, IK, ATOMIC)}
TARGET_ARCHITECTURE = "gemma4"
