"""What adapting takes, as arithmetic: operations, bytes, minutes. Headers are enough."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from gemma_mtp.adapt.lesson import Donor
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.roles import ASSISTANT_HEAD, LAYER

#: Operations that a device sustains, a second, where nothing was measured: a laptop's processor core, a graphics card.
CORE, CARD = 2e10, 2.5e13
#: Rounds that are trained together, by device: what they leave for their gradients would be most of the memory.
ROWS = {"cpu": 64, "cuda": 4096}


#: Candidates that the head is cut to on a CPU, where the vocabulary is larger than twice as many.
CANDIDATES = 16_384


def candidate_count(asked: int | None, device: str, vocabulary: int) -> int:
    """Rows that the head is cut to; 0: it is not. asked: None: by device."""
    if asked is not None:
        return asked if asked < vocabulary else 0
    return CANDIDATES if device == "cpu" and vocabulary > 2 * CANDIDATES else 0


def body_weights(assistant: Hyperparameters) -> int:
    """Weights of all matrices but the head's."""
    layers = sum(
        prod(role.shape(assistant, layer)) for layer in range(assistant.layers) for role in LAYER if not role.plain
    )
    projections = [role for role in ASSISTANT_HEAD if role.name.startswith("nextn.")]
    return layers + sum(prod(role.shape(assistant, -1)) for role in projections)


def step_flops(assistant: Hyperparameters, positions: int, keys: int, chain: int, head: int) -> float:
    """Operations of training on `positions` rounds that read up to `keys` cached tokens each, half of them on average.

    A multiplication and an addition are two. The body goes forward and back through inputs and weights (6 for each
    weight), the frozen head forward and back to its input (4), attention forward and back (12 for an element of Q K).
    """
    attention = sum(assistant.heads * assistant.head_dim(layer) for layer in range(assistant.layers))
    body, scored = 6.0 * body_weights(assistant), 4.0 * head * assistant.hidden
    return chain * positions * (body + scored + 12.0 * attention * keys / 2)


def token_bytes(width: int, donors: dict[str, Donor], top: int) -> int:
    """Bytes of a token's signals on disk."""
    cached = sum(2 * 2 * donor.heads * donor.width for donor in donors.values())
    return 4 + 2 * width + cached + 6 * top


@dataclass(frozen=True)
class Costs:
    """disk: bytes of the signals. memory: bytes that training takes. flops: of all of it. minutes: at `speed`,
    operations a second."""

    tokens: int
    disk: int
    memory: int
    flops: float
    speed: float

    @property
    def minutes(self) -> float:
        return self.flops / self.speed / 60


def costs(
    assistant: Hyperparameters,
    donors: dict[str, Donor],
    *,
    tokens: int,
    top: int,
    length: int,
    chain: int,
    epochs: float,
    speed: float,
    candidates: int,
) -> Costs:
    """What `tokens` cost to record and to learn from. length: of a piece. candidates: of the head, 0: all."""
    head = candidates or assistant.vocabulary
    flops = step_flops(assistant, round(tokens * epochs), length, chain, head)
    body, whole = body_weights(assistant), assistant.vocabulary * assistant.hidden
    # float32 weights, gradients, two moments and the best state; the head in float32; activations of some rounds
    rows = min(length, ROWS["cpu"])
    widths = assistant.layers * (4 * assistant.hidden + 3 * assistant.intermediate) + 4 * assistant.backbone
    memory = 4 * (5 * body + whole) + 4 * chain * rows * widths + 128 * (1 << 20)
    return Costs(tokens, tokens * token_bytes(assistant.backbone, donors, top), memory, flops, speed)
