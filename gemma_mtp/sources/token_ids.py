"""Which tokens a drafter's own, shorter head knows: in a checkpoint each id less its row's number, in a GGUF the id."""

from __future__ import annotations

from typing import Any

import numpy as np

from gemma_mtp.errors import CheckpointError
from gemma_mtp.sources.checkpoint import Checkpoint
from gemma_mtp.sources.experts import SourceTensor

#: Dtypes that such a list is stored in.
INTEGERS = ("I64", "I32")


def token_ids(checkpoint: Checkpoint, tensor: SourceTensor) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The ids, int64 [rows of the head]. Raises CheckpointError: no whole numbers, no tokens, one of them twice."""
    if tensor.dtype not in INTEGERS:
        raise CheckpointError(f"tensor {tensor.name} has dtype {tensor.dtype}, not I64", where=tensor.file)
    stored = checkpoint.data(tensor).reshape(-1).astype(np.int64)
    ids = stored + np.arange(stored.size)
    vocabulary = checkpoint.model.vocabulary
    if not ((ids >= 0) & (ids < vocabulary)).all() or np.unique(ids).size != ids.size:
        raise CheckpointError(
            f"tensor {tensor.name} does not choose {ids.size:,} of {vocabulary:,} tokens: some do not exist, or are "
            "chosen twice",
            where=tensor.file,
            hint="download the checkpoint again",
        )
    return ids
