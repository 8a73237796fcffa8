"""llama.cpp's mixes: which tensor of a Gemma 4 model gets which type in a file of a given TYPE.

The rules are rows of tables, and the first row that fits wins; a tensor that no row fits gets the file type's base
type. Source: src/llama-quant.cpp (llama_tensor_get_type and what it calls), for the architectures `gemma4` and
`gemma4-assistant`; tests/reference compares with llama_model_quantize.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gemma_mtp.errors import UsageError
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType, block_size, native
from gemma_mtp.model.dialects import MAINLINE
from gemma_mtp.model.family import dialect_of
from gemma_mtp.model.gguf_keys import per_layer, read_keys
from gemma_mtp.model.part import Part
from gemma_mtp.quantize.names import layer_of, llama_order, role_of
from gemma_mtp.quantize.types import FILE_TYPES, FileType

#: Roles that keep the type they have, besides one-dimensional tensors, norms and whatever is no weight: routers and
#: small projections that llama.cpp spares, and the centroid head of other dialects.
KEPT_ROLES = frozenset({"ffn_gate_inp", "per_layer_model_proj", "centroids", "token_ordering", "rope_freqs"})

#: Role -> the table of rules that is about it. `head` is the output matrix; where the model has none of its own,
#: the tied embedding (and with it every embedding table) is treated as the head.
SUBJECTS = {
    "output": "head",
    "token_embd": "embedding",
    "per_layer_token_embd": "embedding",
    "attn_q": "attn_q",
    "attn_k": "attn_k",
    "attn_v": "attn_v",
    "attn_qkv": "attn_v",
    "attn_output": "attn_output",
    "ffn_gate": "ffn_gate",
    "ffn_gate_exps": "ffn_gate",
    "ffn_gate_up_exps": "ffn_gate",
    "ffn_up": "ffn_up",
    "ffn_up_exps": "ffn_up",
    "ffn_down": "ffn_down",
    "ffn_down_exps": "ffn_down",
}


@dataclass(frozen=True)
class Place:
    """All that a rule can ask about a tensor.

    visit: how many tensors of the same subject come before it in llama.cpp's order (by layer, then by name).
    index, count: its position among how many. For `attn_v` these are the tensors of that kind, for the MLP the layers.
    share: query heads to a key-value head in layer 0.
    """

    columns: int
    stacked: bool  # a tensor of experts
    visit: int
    index: int
    count: int
    layers: int
    share: int
    experts: int
    has_importance: bool
    base: GGMLType


Condition = Callable[[Place], bool]


def always(_: Place) -> bool:
    return True


def more_bits(place: Place) -> bool:
    """The first and last eighth, and every third in between."""
    index, count = place.index, place.count
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def first_eighth(place: Place) -> bool:
    return place.index < place.count // 8


def middle(place: Place) -> bool:
    return place.count // 8 <= place.index < 7 * place.count // 8


def visited_in_first_eighth(place: Place) -> bool:
    return place.visit < place.layers // 8


def first_sixteenth(place: Place) -> bool:
    return place.index < place.count // 16


def first(number: int) -> Condition:
    return lambda place: place.index < number


def shared_heads(place: Place) -> bool:
    return place.share >= 4


def shared_heads_or_experts(place: Place) -> bool:
    return place.share >= 4 or place.experts >= 4


def eight_experts(place: Place) -> bool:
    return place.experts == 8


def no_importance(place: Place) -> bool:
    return not place.has_importance


def has_importance(place: Place) -> bool:
    return place.has_importance


def both(one: Condition, other: Condition) -> Condition:
    return lambda place: one(place) and other(place)


def width_does_not_fit(place: Place) -> bool:
    return place.columns % block_size(place.base) != 0


@dataclass(frozen=True)
class Rule:
    """A tensor in a file of one of these types gets the type `give` (None: the base type) when the condition holds."""

    files: frozenset[str]
    give: GGMLType | None
    when: Condition


def rule(files: str, give: GGMLType | None, when: Condition = always) -> Rule:
    return Rule(frozenset(files.split()), give, when)


_T = GGMLType
_ALL = " ".join(name for name, kind in FILE_TYPES.items() if kind.base not in FLOAT_TYPES)
_TINY = "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M"

#: Types that make garbage without an importance matrix.
NEEDING_IMPORTANCE = frozenset({_T.IQ1_S, _T.IQ1_M, _T.IQ2_XXS, _T.IQ2_XS, _T.IQ2_S, _T.IQ3_XXS})

#: Rules for every tensor but the head.
ANYWHERE = (
    rule("MXFP4_MOE", _T.MXFP4, lambda place: place.stacked),
    rule("MXFP4_MOE", _T.Q8_0),
)

RULES: dict[str, tuple[Rule, ...]] = {
    "head": (
        rule("MXFP4_MOE", _T.Q8_0),
        rule(_ALL, _T.Q8_0, width_does_not_fit),
        rule(f"{_TINY} IQ3_XXS", _T.Q5_K),
        rule(_ALL, _T.Q6_K, lambda place: place.base is not _T.Q8_0),
    ),
    "embedding": (
        rule("IQ2_XXS IQ2_XS IQ1_S IQ1_M", _T.Q2_K),
        rule("IQ2_S IQ2_M IQ3_XXS", _T.IQ3_S),
        rule("TQ1_0 TQ2_0", _T.Q4_K),
    ),
    "attn_q": (
        rule("IQ3_XS", _T.IQ3_XXS),
        rule("IQ3_XXS", _T.IQ2_S),
    ),
    "attn_k": (
        rule(_TINY, _T.Q4_K, eight_experts),
        rule(_ALL, _T.Q8_0, eight_experts),
        rule("IQ3_XS", _T.IQ3_XXS),
        rule("IQ3_XXS", _T.IQ2_S),
    ),
    "attn_v": (
        rule(_TINY, _T.Q4_K, shared_heads_or_experts),
        rule("IQ2_S IQ2_M", _T.IQ3_S),
        rule(_TINY, _T.Q2_K),
        rule(_ALL, _T.Q8_0, eight_experts),
        rule("Q2_K Q2_K_S IQ3_XXS IQ3_XS IQ3_S", _T.Q4_K, shared_heads),
        rule("Q2_K", _T.Q3_K),
        rule("IQ3_XXS", _T.IQ3_S, no_importance),
        rule("IQ3_M", _T.Q4_K),
        rule("Q3_K_M", _T.Q5_K, first(2)),
        rule("Q3_K_M", _T.Q4_K),
        rule("Q3_K_L", _T.Q5_K),
        rule("IQ4_NL IQ4_XS", _T.Q5_K, shared_heads),
        rule("Q4_K_M Q5_K_M", _T.Q6_K, more_bits),
        rule("Q4_K_S", _T.Q5_K, first(4)),
    ),
    "attn_output": (
        rule(
            f"{_TINY} Q2_K IQ3_XXS IQ3_XS IQ3_S IQ3_M Q3_K_S Q3_K_M IQ4_NL IQ4_XS Q4_K_S Q4_K_M", _T.Q5_K, eight_experts
        ),
        rule(_ALL, None, eight_experts),
        rule("IQ1_S IQ1_M", _T.IQ2_XXS),
        rule("IQ2_S IQ2_M IQ3_XXS", _T.IQ3_S),
        rule("Q2_K", _T.Q3_K),
        rule("Q3_K_M IQ3_M", _T.Q4_K),
        rule("Q3_K_L", _T.Q5_K),
    ),
    "ffn_gate": (rule("IQ3_XS", _T.IQ3_XXS, middle),),
    "ffn_up": (rule("IQ3_XS", _T.IQ3_XXS, middle),),
    "ffn_down": (
        rule("IQ2_S IQ2_M", _T.IQ3_S, visited_in_first_eighth),
        rule(_TINY, _T.Q2_K, visited_in_first_eighth),
        rule("Q2_K", _T.Q3_K),
        rule("Q2_K_S", _T.Q4_K, first_eighth),
        rule("IQ3_XXS", _T.Q4_K, both(no_importance, first_eighth)),
        rule("IQ3_XXS", _T.Q3_K, no_importance),
        rule("Q3_K_M", _T.Q5_K, first_sixteenth),
        rule("Q3_K_M", _T.Q4_K),
        rule("IQ3_M", _T.Q4_K, first_eighth),
        rule("IQ3_M", _T.Q4_K, both(eight_experts, more_bits)),
        rule("Q3_K_L", _T.Q5_K),
        rule("Q4_K_M Q5_K_M", _T.Q6_K, more_bits),
        rule("IQ4_NL IQ4_XS", _T.Q5_K, both(no_importance, first_eighth)),
        rule("Q4_K_S", _T.Q5_K, first_eighth),
        # With an importance matrix the first layers' ffn_down would suffer.
        rule("Q4_0", _T.Q4_1, both(has_importance, first_eighth)),
        rule("Q5_0", _T.Q5_1, both(has_importance, first_eighth)),
    ),
}

#: What a type gives way to where a row is no whole number of its blocks.
NARROWER_BLOCKS = {
    **dict.fromkeys((_T.IQ1_S, _T.IQ1_M, _T.IQ2_XXS, _T.IQ2_XS, _T.IQ2_S, _T.IQ3_XXS, _T.IQ3_S, _T.IQ4_XS), _T.IQ4_NL),
    **dict.fromkeys((_T.Q2_K, _T.Q3_K, _T.TQ1_0, _T.TQ2_0), _T.Q4_0),
    _T.Q4_K: _T.Q5_0,
    _T.Q5_K: _T.Q5_1,
    _T.Q6_K: _T.Q8_0,
}


def mix_types(
    kind: FileType, metadata: Mapping[str, Value], tensors: Sequence[TensorPlan], has_importance: bool = False
) -> list[GGMLType]:
    """The type of each tensor in a file of type `kind`; a tensor that is kept has the type it came with.

    metadata: the model's keys (`{arch}.block_count`, ...). Raises UsageError if a width fits no type (see `fitting`).
    """
    if kind.base in FLOAT_TYPES:
        return [native(tensor.type) if is_kept(tensor) else kind.base for tensor in tensors]
    tied = _is_tied(tensors)
    places = _places(kind, metadata, tensors, has_importance)
    return [
        fitting(_chosen(kind, _subject(tensor.name, tied), places[tensor.name]), tensor)
        if tensor.name in places
        else native(tensor.type)
        for tensor in tensors
    ]


def is_kept(tensor: TensorPlan) -> bool:
    """Whether a tensor keeps its type whatever is asked for: vectors, norms, scales, routers and the like.

    As in ggml, leading axes of length 1 don't count as dimensions.
    """
    is_vector = all(length == 1 for length in tensor.shape[:-1])
    role = role_of(tensor.name)
    return is_vector or role in KEPT_ROLES or role.endswith("_norm") or not tensor.name.endswith("weight")


def fitting(kind: GGMLType, tensor: TensorPlan) -> GGMLType:
    """`kind`, or where the tensor's rows are no whole number of its blocks, what llama.cpp takes instead.

    Raises UsageError for Q1_0, which has no replacement.
    """
    columns = tensor.shape[-1]
    if columns % block_size(kind) == 0:
        return kind
    if kind is _T.Q1_0:
        raise UsageError(
            f"rows of {columns} elements are no multiple of {kind.name}'s {block_size(kind)}", where=tensor.name
        )
    narrower = NARROWER_BLOCKS.get(kind, kind)
    return narrower if columns % block_size(narrower) == 0 else _T.F16


def needs_importance(kind: str, tensor: TensorPlan, given: GGMLType) -> bool:
    """Whether llama.cpp refuses to make a tensor of this type without an importance matrix."""
    if SUBJECTS.get(role_of(tensor.name)) in ("head", "embedding"):
        return False
    return given in NEEDING_IMPORTANCE or (given is _T.Q2_K and kind == "Q2_K_S")


def _chosen(kind: FileType, subject: str | None, place: Place) -> GGMLType:
    """The type that the first fitting rule gives."""
    rules = RULES.get(subject, ()) if subject else ()
    for row in rules if subject == "head" else (*ANYWHERE, *rules):
        if kind.name in row.files and row.when(place):
            return kind.base if row.give is None else row.give
    return kind.base


def _subject(name: str, tied: bool) -> str | None:
    subject = SUBJECTS.get(role_of(name))
    return "head" if tied and subject == "embedding" else subject


def _is_tied(tensors: Sequence[TensorPlan]) -> bool:
    return all(role_of(tensor.name) != "output" for tensor in tensors)


def _first_layers(metadata: Mapping[str, Value], *names: str) -> list[int]:
    """The model's keys of these names: of one that says a number for each layer the first's, of a wrong one 0."""
    architecture = Metadata(metadata).architecture
    dialect = dialect_of(architecture)
    part = Part.TARGET if dialect is None else Part.ASSISTANT
    keys = read_keys(metadata, dialect or replace(MAINLINE, architecture=architecture), part).values
    return [per_layer(keys.get(name, 0), 1)[0] for name in names]


def _places(
    kind: FileType, metadata: Mapping[str, Value], tensors: Sequence[TensorPlan], has_importance: bool
) -> dict[str, Place]:
    """What the rules can ask, for every tensor that is not kept."""
    tied = _is_tied(tensors)
    layers, experts, heads, key_value_heads = _first_layers(
        metadata, "block_count", "expert_count", "attention.head_count", "attention.head_count_kv"
    )
    all_values = sum(_subject(tensor.name, tied) == "attn_v" for tensor in tensors)
    visits: Counter[str | None] = Counter()
    places = {}
    for tensor in sorted(tensors, key=lambda tensor: llama_order(tensor.name)):
        if is_kept(tensor):
            continue
        subject = _subject(tensor.name, tied)
        visit = visits[subject]
        visits[subject] += 1
        # llama.cpp counts the MLP's tensors as it meets them, unless there are experts: then it reads the name.
        in_mlp = subject is not None and subject.startswith("ffn")
        places[tensor.name] = Place(
            columns=tensor.shape[-1],
            stacked=len(tensor.shape) > 2 and tensor.shape[-3] > 1,
            visit=visit,
            index=layer_of(tensor.name) if in_mlp and experts > 1 else visit,
            count=layers if in_mlp else all_values,
            layers=layers,
            share=heads // key_value_heads if key_value_heads else 0,
            experts=experts,
            has_importance=has_importance,
            base=kind.base,
        )
    return places
