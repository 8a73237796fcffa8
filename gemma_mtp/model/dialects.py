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
    ordering_is_cluster_of_token: its token ordering is token -> cluster, not the permutation of tokens by cluster.
    runtimes: what loads it, for people.
    """

    name: str
    architecture: str
    runtimes: str
    keys: Mapping[str, str | None] = field(default_factory=_table)
    tensors: Mapping[str, str | None] = field(default_factory=_table)
    constants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ordering_is_cluster_of_token: bool = False


#: Mainline has no keys for a centroid head and its loader refuses the tensors, but it skips metadata that it does not
#: know: there the head travels as arrays under these keys (ours), so that it can become tensors again.
CENTROIDS, TOKEN_ORDERING = "mtp.centroids", "mtp.token_ordering"
CENTROIDS_TYPE = "mtp.centroids_type"
CENTROID_COUNT, CENTROID_TOP_K = "mtp.centroid_count", "mtp.centroid_top_k"
#: What carries a centroid head in mainline metadata.
HEAD_KEYS = (CENTROID_COUNT, CENTROID_TOP_K, CENTROIDS, CENTROIDS_TYPE, TOKEN_ORDERING)
#: The full layers' rope factors, kept this way where a dialect has no tensor and they are not the usual ones.
ROPE_FACTORS = "mtp.rope_freqs"

MAINLINE = Dialect(
    name="mainline",
    architecture="gemma4-assistant",
    runtimes="llama.cpp since June 2026 and what is built on it; ik_llama.cpp since June 19, 2026",
    tensors=_table(centroids=None, token_ordering=None),
)

IK = Dialect(
    name="ik",
    architecture="gemma4_mtp",
    runtimes="ik_llama.cpp since May 10, 2026",
    keys=MappingProxyType(
        {
            "embedding_length_out": "backbone_embedding_length",
            "nextn_predict_layers": None,
            CENTROID_COUNT: "centroid_count",
            CENTROID_TOP_K: "centroid_top_k",
        }
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
    ordering_is_cluster_of_token=True,
)

ATOMIC = Dialect(
    name="atomic",
    architecture="gemma4_assistant",
    runtimes="AtomicChat's fork before b10018 (July 2026)",
    keys=MappingProxyType(
        {
            "embedding_length_out": "n_embd_backbone",
            "nextn_predict_layers": None,
            CENTROID_COUNT: "n_centroids",
            CENTROID_TOP_K: "centroid_top_k",
        }
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

#: Spellings that are read but never written: tensor -> the dialect's own name for it.
ALIASES = MappingProxyType({"mtp.token_ordering": "mtp.token_ordering.weight"})

_HEAD_PREFIXES = ("", "mtp.", "mtp_", "nextn.", "masked_embd_", "masked_embd.", "masked_embedding.", "model.")
#: What a centroid head's tensors are called, less `.weight`, where a tool took over the checkpoint's names or another
#: runtime's -> the role. `masked_embd_centroids` and `masked_embd_ordering` are declared by mainline's loader,
#: which fails on a file that has them.
HEAD_SPELLINGS = MappingProxyType(
    {
        **{f"{prefix}centroids": "centroids" for prefix in _HEAD_PREFIXES},
        **{f"{prefix}{tail}": "token_ordering" for prefix in _HEAD_PREFIXES for tail in ("token_ordering", "ordering")},
    }
)
#: The same for its two counts: mainline's key, without the architecture -> other spellings of it.
COUNT_SPELLINGS = MappingProxyType(
    {
        CENTROID_COUNT: ("centroid_count", "n_centroids", "num_centroids"),
        CENTROID_TOP_K: ("centroid_top_k", "centroid_intermediate_top_k"),
    }
)
#: Whether the head is to be used. Our files say it by having one.
ORDERED = "use_ordered_embeddings"
