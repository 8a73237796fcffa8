"""A DSpark drafter in a GGUF: a DFlash drafter whose drafts are drawn one after the other through a Markov head.

Only files are read: nothing converts one here, and llama.cpp's C++ engine alone drafts with it. Source: llama.cpp,
src/models/dflash.cpp and conversion/qwen.py, `DSparkModel`, and conversion/gemma.py, `Gemma4DSparkModel` (b11549).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dflash import parameters, tables
from gemma_mtp.model.dflash.parameters import DFlashParameters
from gemma_mtp.model.keys import ASSISTANT, FLAG, Key
from gemma_mtp.model.roles import ROPE_FREQS, Role, always, never, of_hidden

#: What tells it from a DFlash drafter, whose architecture it has (llama.cpp's own sign).
MARKOV = "markov_w1.weight"
#: Another sign: what judges its drafts, which it need not have.
CONFIDENCE = "conf_proj.weight"
#: Keys; llama.cpp takes true for both where nothing is said.
ANCHORED, CONFIDENT = "sample_from_anchor", "has_confidence_head"


@dataclass(frozen=True)
class DSparkParameters(DFlashParameters):
    """rank: of the Markov head. anchored: whether the newest token's own place drafts, too. confident: whether the file
    says that it has a confidence head, by which llama.cpp cuts drafts.
    """

    family: ClassVar[str] = "dspark"

    rank: int = 0
    anchored: bool = True
    confident: bool = True

    @property
    def most_drafts(self) -> int:
        return self.block if self.anchored else super().most_drafts

    def told_by(self, tensors: Mapping[str, TensorInfo]) -> DFlashParameters:
        """No key says what the rank is."""
        head, told = tensors.get(MARKOV), super().told_by(tensors)
        assert isinstance(told, DSparkParameters)
        return told if head is None else replace(told, rank=head.shape[-1])


def of_keys(key: Mapping[str, Any], vocabulary: int) -> DSparkParameters | str:
    """The drafter that a GGUF's keys describe, or why they describe none. vocabulary: the number of tokens."""
    found = parameters.of_keys(key, vocabulary)
    if isinstance(found, str):
        return found
    return DSparkParameters(
        **parameters.values_of(found),
        anchored=key.get(ANCHORED, True),
        confident=key.get(CONFIDENT, True),
    )


def _spark(model: Hyperparameters) -> DSparkParameters:
    assert isinstance(model, DSparkParameters)
    return model


def _optional(name: str, shape: Any, layered: bool = True) -> Role:
    return Role(name, "", shape, layered=layered, needed=never, allowed=always, plain=True)


ROLES = (
    # A Gemma's layers may have no values of their own.
    *(replace(role, needed=never, allowed=always) if role.name == "attn_v" else role for role in tables.ROLES),
    Role("markov_w1", "", lambda h, _: (h.vocabulary, _spark(h).rank), layered=False),
    Role("markov_w2", "", lambda h, _: (_spark(h).known_tokens, _spark(h).rank), layered=False),
    _optional("conf_proj", lambda h, _: (1, h.hidden + _spark(h).rank), layered=False),
    _optional("conf_proj.bias", lambda h, _: (1,), layered=False),
    _optional("post_attention_norm", of_hidden),
    _optional("post_ffw_norm", of_hidden),
    _optional("layer_output_scale", lambda h, _: (1,)),
    _optional("attn_sinks", lambda h, _: (h.heads,)),
    replace(ROPE_FREQS, needed=never, allowed=always),
)

#: The graph stops without a block size.
KEYS = (
    *(replace(key, assumed=None) if key.name == "block_size" else key for key in tables.KEYS),
    *(Key(name, FLAG, parts=ASSISTANT, needed=False) for name in (ANCHORED, CONFIDENT)),
)
