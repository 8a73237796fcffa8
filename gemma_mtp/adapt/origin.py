"""What an adapted assistant's file says of its origin: keys that every loader skips. Needs nothing but metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType

KEY = "gemma_mtp.adapt"
TARGET, TARGET_HASH = f"{KEY}.target", f"{KEY}.target.sha256"
ASSISTANT, ASSISTANT_HASH = f"{KEY}.assistant", f"{KEY}.assistant.sha256"
TOKENS, STEPS, TRAIN = f"{KEY}.tokens", f"{KEY}.steps", f"{KEY}.train"
DRAFTS, BEFORE, AFTER = f"{KEY}.drafts", f"{KEY}.before", f"{KEY}.after"
#: What the figures before and after are, in their order.
FIGURES = ("first drafts that are the target's choice", "greedy drafts accepted", "drafts accepted at temperature 0.7")


@dataclass(frozen=True)
class Origin:
    """target, assistant: names of the parents; with the SHA-256 of their files. tokens, steps: of the training.

    drafts, before, after: of each of FIGURES how many were made, and the share before and after, on held-out texts.
    """

    target: str
    target_sha256: str
    assistant: str
    assistant_sha256: str
    tokens: int
    steps: int
    train: str
    drafts: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]

    def keys(self) -> dict[str, Value]:
        """As metadata."""
        return {
            TARGET: gv.string(self.target),
            TARGET_HASH: gv.string(self.target_sha256),
            ASSISTANT: gv.string(self.assistant),
            ASSISTANT_HASH: gv.string(self.assistant_sha256),
            TOKENS: gv.u32(self.tokens),
            STEPS: gv.u32(self.steps),
            TRAIN: gv.string(self.train),
            DRAFTS: gv.array(ValueType.UINT32, self.drafts),
            BEFORE: gv.array(ValueType.FLOAT32, self.before),
            AFTER: gv.array(ValueType.FLOAT32, self.after),
        }


def origin_of(metadata: Mapping[str, Value]) -> Origin | None:
    """The origin that a file tells; None where it tells none, or not all of it, or of other types."""
    texts = {key: _text(metadata.get(key)) for key in (TARGET, TARGET_HASH, ASSISTANT, ASSISTANT_HASH, TRAIN)}
    numbers = [value.integer() if (value := metadata.get(key)) else None for key in (TOKENS, STEPS)]
    arrays = [
        tuple(value.decode().tolist()) if (value := metadata.get(key)) and value.is_array_of(kind) else ()
        for key, kind in ((DRAFTS, ValueType.UINT32), (BEFORE, ValueType.FLOAT32), (AFTER, ValueType.FLOAT32))
    ]
    tokens, steps = numbers
    if tokens is None or steps is None or not texts[TARGET] or any(len(one) != len(FIGURES) for one in arrays):
        return None
    drafts, before, after = arrays
    return Origin(
        texts[TARGET], texts[TARGET_HASH], texts[ASSISTANT], texts[ASSISTANT_HASH], tokens, steps, texts[TRAIN],
        drafts, before, after,
    )  # fmt: skip


def _text(value: Value | None) -> str:
    return (value.text() if value else None) or ""
