"""What makes a pair one of a family, as one record: names, classes, spellings, tables.

Families differ in their drafters; their targets are the same. A part of the program that must know of which family a
drafter is asks the record instead of writing it down again; the tables themselves (roles, keys, dialects, the reading
of config.json) have their own modules, and are named here. `FAMILY` is the one that Google's assistants are of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from gemma_mtp.model import eagle3
from gemma_mtp.model.config import ARCHITECTURES, Hyperparameters, parse_config, read_config
from gemma_mtp.model.dflash import dspark
from gemma_mtp.model.dflash import parameters as dflash
from gemma_mtp.model.dflash import tables as dflash_tables
from gemma_mtp.model.dflash.layouts import refuse_other_drafters
from gemma_mtp.model.dialects import DIALECTS, MAINLINE, TARGET_ARCHITECTURE, Dialect
from gemma_mtp.model.keys import MODEL_KEYS, Key
from gemma_mtp.model.part import Part
from gemma_mtp.model.roles import ROLES, Role, Slot


@dataclass(frozen=True, eq=False)
class Family:
    """A kind of target together with its kind of drafter.

    name: as `Hyperparameters.family` says it. title: the targets' name, for people. prefix: what a drafter's file name
    begins with, by which llama.cpp's `-hf` finds it. spec_type: what llama.cpp calls this way of drafting
    (`--spec-type`). ending: of a drafter's checkpoint after its target's name. tags: of a drafter's repo on the Hub.

    classes: transformers' class -> part. architectures: part -> `general.architecture` in mainline's spelling.
    tokenizer: `tokenizer.ggml.model` of both.
    dialects: a drafter's spellings, by name. roles, keys: the tensors and keys of each part.
    parse: config.json -> hyper-parameters. of_keys: a GGUF's keys and number of tokens -> a drafter's, or why there are
    none; None: as Gemma's (`model.gguf_keys`).
    groups: names for several roles at once, which recipes and `--tensor` use.

    sizes: a target's hidden width -> its size, as its maker names them. publisher, checkpoint, variants: of the
    official repos, `publisher/checkpoint` with a size in it, and what may follow.
    """

    name: str
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
    parse: Callable[[Mapping[str, Any], Path], Hyperparameters]
    of_keys: Callable[[Mapping[str, Any], int], Hyperparameters | str] | None = None

    def __reduce__(self) -> tuple[Callable[[str], Family], tuple[str]]:
        """In another process it is that process's own: its tables hold functions, and there is one of each family."""
        return family_named, (self.name,)

    @property
    def mainline(self) -> Dialect:
        """A drafter's spelling in llama.cpp."""
        return self.dialects[MAINLINE.name]

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
        return f"*{self.checkpoint.partition('{')[0].rstrip('-')}*{self.ending}".lower()


FAMILY = Family(
    name="mtp",
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
            "projections": frozenset({"nextn.pre_projection", "nextn.post_projection", "inp_gate", "proj", "fc"}),
        }
    ),
    sizes=MappingProxyType({1536: "E2B", 2560: "E4B", 3840: "12B", 2816: "26B-A4B", 5376: "31B"}),
    publisher="google",
    checkpoint="gemma-4-{size}-it",
    variants=("-assistant", "", "-qat-q4_0-unquantized-assistant", "-qat-q4_0-unquantized"),
    parse=parse_config,
)

#: z-lab's: a block of tokens at once, from the outputs of several of the target's layers.
DFLASH = replace(
    FAMILY,
    name="dflash",
    prefix="dflash-",
    spec_type="draft-dflash",
    ending="-DFlash",
    tags=("speculative-decoding", "dflash", "draft-model", dflash_tables.MAINLINE.architecture),
    classes=MappingProxyType(dflash.CLASSES),
    architectures=MappingProxyType(
        {Part.TARGET: TARGET_ARCHITECTURE, Part.ASSISTANT: dflash_tables.MAINLINE.architecture}
    ),
    dialects=MappingProxyType(dflash_tables.DIALECTS),
    roles=MappingProxyType({Part.TARGET: ROLES[Part.TARGET], Part.ASSISTANT: dflash_tables.ROLES}),
    keys=dflash_tables.KEYS,
    publisher="z-lab",
    variants=("-DFlash",),
    parse=dflash.parse_config,
    of_keys=dflash.of_keys,
)

#: In the order in which a drafter is looked for.
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (FAMILY, DFLASH)})


def _only_read(name: str, dialect: Dialect, tables: ModuleType) -> Family:
    """tables: the module with its roles, keys and `of_keys`."""
    return replace(
        DFLASH,
        name=name,
        prefix=f"{name}-",
        spec_type=f"draft-{name}",
        classes=MappingProxyType({}),
        architectures=MappingProxyType({Part.TARGET: TARGET_ARCHITECTURE, Part.ASSISTANT: dialect.architecture}),
        dialects=MappingProxyType({dialect.name: dialect}),
        roles=MappingProxyType({Part.TARGET: ROLES[Part.TARGET], Part.ASSISTANT: tables.ROLES}),
        keys=tables.KEYS,
        of_keys=tables.of_keys,
    )


DSPARK = _only_read("dspark", dflash_tables.MAINLINE, dspark)
EAGLE3 = _only_read("eagle3", eagle3.MAINLINE, eagle3)
#: Drafters whose files are checked and measured, and that nothing here converts, quantizes, publishes or drafts with.
FOREIGN: Mapping[str, Family] = MappingProxyType({family.name: family for family in (DSPARK, EAGLE3)})


def family_named(name: str) -> Family:
    """Of any family, `FOREIGN` ones included."""
    return FAMILIES.get(name) or FOREIGN[name]


def family_of(architecture: str) -> Family:
    """The family whose drafters have this `general.architecture`; `FAMILY` for a target's, and what is unknown."""
    return next((one for one in FAMILIES.values() if architecture in one.all_architectures[1:]), FAMILY)


def family_of_checkpoint(name: str) -> Family:
    """The family whose drafters' checkpoints are named so; `FAMILY` where the name does not tell."""
    return next((one for one in FAMILIES.values() if name.endswith(one.ending)), FAMILY)


def dialect_of(architecture: object) -> Dialect | None:
    """The dialect of any family whose `general.architecture` this is."""
    dialects = (dialect for family in FAMILIES.values() for dialect in family.dialects.values())
    return next((dialect for dialect in dialects if dialect.architecture == architecture), None)


def read_model(folder: Path) -> Hyperparameters:
    """The hyper-parameters of the checkpoint in `folder`, of whichever family its class is.

    Raises CheckpointError: no config.json, not JSON, another architecture, packed weights, a field missing or odd.
    """
    config = read_config(folder)
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    family = next((one for one in FAMILIES.values() if name in one.classes), FAMILY)
    refuse_other_drafters(name, folder / "config.json")
    return family.parse(config, folder / "config.json")


def slots(model: Hyperparameters) -> list[Slot]:
    """All places for tensors that a model of this kind has or may have, in the order of the roles, layer by layer."""
    roles = family_named(model.family).roles[model.part]
    single = [Slot(role, None) for role in roles if not role.layered]
    layered = [Slot(role, layer) for layer in range(model.layers) for role in roles if role.layered]
    return [slot for slot in (*single, *layered) if slot.allowed(model)]
