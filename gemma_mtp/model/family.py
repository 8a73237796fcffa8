"""What makes a pair one of this family, as one record: names, classes, spellings, tables.

There is one family. A part of the program that must know which it is asks the record instead of writing it down again;
the tables themselves (roles, keys, dialects, the reading of config.json) have their own modules, and are named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gemma_mtp.model.config import ARCHITECTURES
from gemma_mtp.model.dialects import DIALECTS, MAINLINE, TARGET_ARCHITECTURE, Dialect
from gemma_mtp.model.keys import MODEL_KEYS, Key
from gemma_mtp.model.part import Part
from gemma_mtp.model.roles import ROLES, Role


@dataclass(frozen=True)
class Family:
    """A kind of target together with its kind of drafter.

    title: the targets' name, for people. prefix: what a drafter's file name begins with, by which llama.cpp's `-hf`
    finds it. spec_type: what llama.cpp calls this way of drafting (`--spec-type`). ending: of a drafter's checkpoint
    after its target's name. tags: of a drafter's repo on the Hub.

    classes: transformers' class -> part. architectures: part -> `general.architecture` in mainline's spelling.
    tokenizer: `tokenizer.ggml.model` of both.
    dialects: a drafter's spellings, by name. roles, keys: the tensors and keys of each part.
    groups: names for several roles at once, which recipes and `--tensor` use.

    sizes: a target's hidden width -> its size, as its maker names them. publisher, checkpoint, variants: of the
    official repos, `publisher/checkpoint` with a size in it, and what may follow.
    """

    title: str
    prefix: str
    spec_type: str
    ending: str
    tags: tuple[str, ...]
    classes: Mapping[str, Part]
    architectures: Mapping[Part, str]
    tokenizer: str
    dialects: Mapping[str, Dialect]
    roles: Mapping[str, tuple[Role, ...]]
    keys: tuple[Key, ...]
    groups: Mapping[str, frozenset[str]]
    sizes: Mapping[int, str]
    publisher: str
    checkpoint: str
    variants: tuple[str, ...]

    @property
    def all_architectures(self) -> tuple[str, ...]:
        """Every `general.architecture` that a target or a drafter of any dialect has."""
        drafters = (dialect.architecture for dialect in self.dialects.values())
        return (self.architectures[Part.TARGET], *drafters)

    @property
    def official_repos(self) -> tuple[str, ...]:
        """The repos on the Hub that hold the checkpoints."""
        names = (self.checkpoint.format(size=size) + end for size in self.sizes.values() for end in self.variants)
        return tuple(f"{self.publisher}/{name}" for name in names)

    @property
    def drafter_names(self) -> str:
        """A pattern of the names of drafters' checkpoints, in lower case."""
        return f"*{self.checkpoint.partition('{')[0].rstrip('-')}*{self.ending}"


FAMILY = Family(
    title="Gemma 4",
    prefix="mtp-",
    spec_type="draft-mtp",
    ending="-assistant",
    tags=("speculative-decoding", "mtp", "draft-model", MAINLINE.architecture),
    classes=MappingProxyType(ARCHITECTURES),
    architectures=MappingProxyType({Part.TARGET: TARGET_ARCHITECTURE, Part.ASSISTANT: MAINLINE.architecture}),
    tokenizer="gemma4",
    dialects=MappingProxyType(DIALECTS),
    roles=MappingProxyType(ROLES),
    keys=MODEL_KEYS,
    groups=MappingProxyType(
        {
            "head": frozenset({"token_embd", "output"}),
            "embeddings": frozenset({"per_layer_token_embd"}),
            "attention": frozenset({"attn_q", "attn_k", "attn_v", "attn_output"}),
            "mlp": frozenset({"ffn_gate", "ffn_up", "ffn_down", "ffn_gate_up_exps", "ffn_down_exps"}),
            "projections": frozenset({"nextn.pre_projection", "nextn.post_projection", "inp_gate", "proj"}),
        }
    ),
    sizes=MappingProxyType({1536: "E2B", 2560: "E4B", 3840: "12B", 2816: "26B-A4B", 5376: "31B"}),
    publisher="google",
    checkpoint="gemma-4-{size}-it",
    variants=("-assistant", "", "-qat-q4_0-unquantized-assistant", "-qat-q4_0-unquantized"),
)
