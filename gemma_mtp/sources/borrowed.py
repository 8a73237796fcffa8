"""The `tokenizer.*` keys of a GGUF: made from the files beside a checkpoint, or its target's.

A DFlash drafter's checkpoint has no tokenizer: it says token ids of its target's. Its GGUF must have one all the same.
"""

from __future__ import annotations

from pathlib import Path

from gemma_mtp.errors import CheckpointError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dflash.parameters import DFlashParameters
from gemma_mtp.sources.card import Note
from gemma_mtp.sources.model import TOKENS, OpenModel
from gemma_mtp.sources.tokenizer import tokenizer_metadata

PREFIX, MASK = "tokenizer.", "tokenizer.ggml.mask_token_id"


def without_target(where: str | Path) -> UsageError:
    """What is said of a drafter's checkpoint whose target nobody has named."""
    return UsageError(
        "this drafter's checkpoint has no tokenizer: it borrows its target's",
        where=where,
        hint="name the target, a GGUF or a checkpoint: --target TARGET",
    )


def tokenizer_keys(
    model: Hyperparameters, folder: Path, target: OpenModel | None = None, note: Note = lambda _: None
) -> dict[str, Value]:
    """The keys for the checkpoint in `folder`. Of a drafter that borrows them, and whose target is not at hand: none.

    Raises what `tokenizer_metadata` raises, and CheckpointError for a target with another vocabulary.
    """
    if not isinstance(model, DFlashParameters):
        return tokenizer_metadata(folder, model.vocabulary, note)
    keys = {} if target is None else borrowed(target)
    if target is not None and (tokens := keys[TOKENS].count) != model.vocabulary:
        raise CheckpointError(
            f"its vocabulary has {model.vocabulary:,} tokens, that of {target.place} {tokens:,}",
            where=folder,
            hint="name the target that this drafter was trained for",
        )
    if keys and model.mask_token is not None:
        keys[MASK] = gv.u32(model.mask_token)
    return keys


def borrowed(target: OpenModel) -> dict[str, Value]:
    """A target's `tokenizer.*` keys. Raises CheckpointError: it has no vocabulary."""
    if TOKENS not in target.metadata:
        raise CheckpointError(f"{TOKENS} is missing", where=target.place, hint="name the drafter's target")
    return {key: value for key, value in target.metadata.items() if key.startswith(PREFIX)}
