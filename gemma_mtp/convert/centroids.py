"""The centroid head (E2B, E4B) in its three forms: a checkpoint's tensors, a dialect's tensors, mainline's metadata.

The head scores `count` centroids, keeps the best `top_k` clusters and computes logits for their tokens only. The
ordering lists the token ids cluster by cluster: a permutation of all tokens, `vocabulary / count` in each cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gguf.quants import dequantize

from gemma_mtp.errors import BadFileError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType, tensor_bytes
from gemma_mtp.model import dialects
from gemma_mtp.quantize.floats import narrowed

Ordering = npt.NDArray[np.int32]


@dataclass(frozen=True)
class CentroidHead:
    """centroids: encoded as `type`, of `shape` [count, hidden]. ordering: token ids by cluster, [vocabulary]."""

    top_k: int
    shape: tuple[int, int]
    type: GGMLType
    centroids: bytes
    ordering: Ordering

    def __post_init__(self) -> None:
        """Raises BadFileError if the parts cannot belong to one head."""
        tokens, count = self.ordering.size, self.shape[0]
        if count < 1:
            raise BadFileError("it has no centroids")
        if not np.array_equal(np.sort(self.ordering), np.arange(tokens)):
            raise BadFileError(f"token_ordering is not a permutation of the {tokens:,} token ids")
        if tokens % count:
            raise BadFileError(f"{tokens:,} tokens cannot be shared out to {count:,} centroids evenly")
        if len(self.centroids) != tensor_bytes(self.type, self.shape):
            raise BadFileError(f"the centroids have {len(self.centroids):,} bytes, not those of {self.shape}")
        if not 1 <= self.top_k <= count:
            raise BadFileError(f"the best {self.top_k} of {count:,} centroids cannot be taken")

    @property
    def count(self) -> int:
        return self.shape[0]

    def clusters(self) -> Ordering:
        """The cluster of each token: [vocabulary]."""
        found = np.empty_like(self.ordering)
        found[self.ordering] = np.arange(self.ordering.size, dtype=np.int32) // (self.ordering.size // self.count)
        return found

    def counts(self) -> dict[str, Value]:
        """The keys that every dialect has, in mainline's spelling without prefix."""
        return {dialects.CENTROID_COUNT: gv.u32(self.count), dialects.CENTROID_TOP_K: gv.u32(self.top_k)}

    def arrays(self) -> dict[str, Value]:
        """The head as metadata arrays, without prefix. Plain numbers are widened to F32, which loses nothing."""
        if self.type in FLOAT_TYPES:
            wide = dequantize(np.frombuffer(self.centroids, np.uint8).reshape(self.count, -1), self.type)
            centroids = gv.array(ValueType.FLOAT32, wide.ravel())
        else:
            centroids = gv.array(ValueType.UINT8, np.frombuffer(self.centroids, np.uint8))
        return {
            dialects.CENTROIDS: centroids,
            dialects.CENTROIDS_TYPE: gv.string(self.type.name),
            dialects.TOKEN_ORDERING: gv.array(ValueType.INT32, self.ordering),
        }


def head_from_arrays(keys: dict[str, Value]) -> CentroidHead | None:
    """The head that mainline metadata (keys without prefix) carries; None if it carries none.

    Raises BadFileError if the arrays are there but wrong.
    """
    if dialects.CENTROIDS not in keys:
        return None
    wanted = (dialects.CENTROID_COUNT, dialects.CENTROID_TOP_K, "embedding_length")
    count, top_k, hidden = (keys[key].integer() if key in keys else None for key in wanted)
    kind_key, stored, ordering = (
        keys.get(dialects.CENTROIDS_TYPE),
        keys[dialects.CENTROIDS],
        keys.get(dialects.TOKEN_ORDERING),
    )
    kind = GGMLType.__members__.get((kind_key.text() if kind_key else None) or "")
    if count is None or top_k is None or hidden is None or kind is None or ordering is None:
        raise BadFileError("the centroid head's metadata is incomplete")
    is_wide = stored.is_array_of(ValueType.FLOAT32) and kind in FLOAT_TYPES
    if not ordering.is_array_of(ValueType.INT32) or not (is_wide or stored.is_array_of(ValueType.UINT8)):
        raise BadFileError("the centroid head's metadata arrays are of the wrong type")
    data = stored.decode()
    encoded = (narrowed(kind, data) if is_wide else data).tobytes()
    return CentroidHead(top_k, (count, hidden), kind, encoded, ordering.decode())


def is_cluster_table(ordering: Ordering, count: int) -> bool:
    """Whether this lists the cluster of each token, not the tokens cluster by cluster."""
    return bool(ordering.size) and ordering.max() < min(count, ordering.size - 1)


def ordering_from_clusters(clusters: Ordering, count: int) -> Ordering:
    """A permutation that gives these clusters. The order inside a cluster has no meaning: by token id.

    Raises BadFileError if the clusters are not all of one size.
    """
    sizes = np.bincount(clusters.clip(min=0), minlength=count)
    if clusters.min(initial=0) < 0 or len(sizes) != count or len(set(sizes.tolist())) != 1:
        raise BadFileError(f"token_ordering does not share the tokens out to {count:,} clusters of one size")
    return np.argsort(clusters, kind="stable").astype(np.int32)
