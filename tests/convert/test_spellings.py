"""The spellings of the runtimes, written out: a name of theirs that changed here would still come back in a round trip.

From the loaders of llama.cpp (`gemma4-assistant`), ik_llama.cpp (`gemma4_mtp`) and AtomicChat's fork
(`gemma4_assistant`).
"""

from __future__ import annotations

from gemma_mtp.model import dialects

WRITTEN = {
    "mainline": ("gemma4-assistant", False),
    "ik": ("gemma4_mtp", True),
    "atomic": ("gemma4_assistant", False),
}
#: Mainline's key or tensor -> each runtime's own. None: it has none.
KEYS = {
    "embedding_length_out": ("embedding_length_out", "backbone_embedding_length", "n_embd_backbone"),
    "nextn_predict_layers": ("nextn_predict_layers", None, None),
    "mtp.centroid_count": ("mtp.centroid_count", "centroid_count", "n_centroids"),
    "mtp.centroid_top_k": ("mtp.centroid_top_k", "centroid_top_k", "centroid_top_k"),
}
TENSORS = {
    "nextn.pre_projection": ("nextn.pre_projection.weight", "mtp_pre_proj.weight", "mtp.pre_projection.weight"),
    "nextn.post_projection": ("nextn.post_projection.weight", "mtp_post_proj.weight", "mtp.post_projection.weight"),
    "centroids": (None, "mtp_centroids.weight", "mtp.centroids.weight"),
    "token_ordering": (None, "mtp_token_ordering.weight", "mtp.token_ordering.weight"),
    "rope_freqs": ("rope_freqs.weight", None, "rope_freqs.weight"),
}
PREFIXES = ("", "mtp.", "mtp_", "nextn.", "masked_embd_", "masked_embd.", "masked_embedding.", "model.")


def test_architectures():
    found = {name: (one.architecture, one.ordering_is_cluster_of_token) for name, one in dialects.DIALECTS.items()}
    assert found == WRITTEN


def test_keys_and_tensors():
    for number, dialect in enumerate(dialects.DIALECTS.values()):
        for key, names in KEYS.items():
            assert dialect.keys.get(key, key) == names[number], (dialect.name, key)
        for role, names in TENSORS.items():
            assert dialect.tensors.get(role, f"{role}.weight") == names[number], (dialect.name, role)
        wanted = {"requires_target_arch": "gemma4"} if dialect.name == "atomic" else {}
        assert dict(dialect.constants) == wanted


def test_what_is_read_but_never_written():
    for prefix in PREFIXES:
        assert dialects.HEAD_SPELLINGS[f"{prefix}centroids"] == "centroids"
        for tail in ("token_ordering", "ordering"):
            assert dialects.HEAD_SPELLINGS[prefix + tail] == "token_ordering"
    assert len(dialects.HEAD_SPELLINGS) == 3 * len(PREFIXES)
    assert dict(dialects.COUNT_SPELLINGS) == {
        "mtp.centroid_count": ("centroid_count", "n_centroids", "num_centroids"),
        "mtp.centroid_top_k": ("centroid_top_k", "centroid_intermediate_top_k"),
    }
    assert dict(dialects.ALIASES) == {"mtp.token_ordering": "mtp.token_ordering.weight"}
    assert dialects.ORDERED == "use_ordered_embeddings"
    assert dialects.TARGET_ARCHITECTURE == "gemma4"


def test_keys_of_ours():
    """What a centroid head is written as in mainline's files: others may read them by now."""
    ours = (dialects.CENTROIDS, dialects.TOKEN_ORDERING, dialects.CENTROIDS_TYPE, dialects.ROPE_FACTORS)
    assert ours == ("mtp.centroids", "mtp.token_ordering", "mtp.centroids_type", "mtp.rope_freqs")
