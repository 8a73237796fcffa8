"""The tensors of a Gemma 4 target and assistant by role: their names in a checkpoint, their shapes, their presence.

A role is named as mainline llama.cpp names the tensor without `blk.N.` and `.weight`: `attn_q`, `ffn_down`, ... That
makes mainline's dialect the plain one; `dialects.py` lists how the others differ. A tensor that has no role, a role
without its tensor and a wrong shape are all errors: nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.part import Part

#: Formulas take the hyper-parameters and the layer (-1 for tensors outside the layers).
Shape = Callable[[Hyperparameters, int], tuple[int, ...]]
Condition = Callable[[Hyperparameters, int], bool]


def always(_: Hyperparameters, __: int) -> bool:
    return True


def never(_: Hyperparameters, __: int) -> bool:
    return False


@dataclass(frozen=True)
class Role:
    """One tensor, or one a layer.

    name: the role.
    source: its name in a checkpoint, less the prefix: inside `layers.N.` if `layered`.
    shape: rows first, as in the checkpoint and in memory.
    needed: whether a model has it. allowed: whether a model that needn't have it may.
    plain: kept in F32 whatever the file's type (norms and scales; llama.cpp keeps all one-dimensional tensors so).
    integers: whole numbers, which a GGUF keeps in I64, under the role's bare name.
    """

    name: str
    source: str
    shape: Shape
    layered: bool = True
    needed: Condition = always
    allowed: Condition = never
    plain: bool = False
    integers: bool = False


def of_hidden(h: Hyperparameters, _: int) -> tuple[int, ...]:
    return (h.hidden,)


def of_head(h: Hyperparameters, layer: int) -> tuple[int, ...]:
    return (h.head_dim(layer),)


def of_query(h: Hyperparameters, layer: int) -> tuple[int, ...]:
    return (h.heads * h.head_dim(layer), h.hidden)


def of_key_value(h: Hyperparameters, layer: int) -> tuple[int, ...]:
    return (h.kv_heads(layer) * h.head_dim(layer), h.hidden)


def of_wide(h: Hyperparameters, layer: int) -> tuple[int, ...]:
    return (h.layer_intermediate(layer), h.hidden)


def _owns_kv(h: Hyperparameters, layer: int) -> bool:
    return not h.shares_kv(layer)


def _has_values(h: Hyperparameters, layer: int) -> bool:
    return _owns_kv(h, layer) and (h.sliding[layer] or not h.values_are_keys)


def _may_have_values(h: Hyperparameters, layer: int) -> bool:
    # Checkpoints of targets with shared KV hold the unused projections all the same, and upstream converts them.
    return h.shares_kv(layer) and (h.sliding[layer] or not h.values_are_keys)


def _shares_kv(h: Hyperparameters, layer: int) -> bool:
    return h.shares_kv(layer)


def _has_experts(h: Hyperparameters, _: int) -> bool:
    return h.experts > 0


def _has_per_layer_input(h: Hyperparameters, _: int) -> bool:
    return h.per_layer_input > 0


def _has_centroids(h: Hyperparameters, _: int) -> bool:
    return h.centroids > 0


EMBEDDING = Role("token_embd", "embed_tokens.weight", lambda h, _: (h.vocabulary, h.hidden), layered=False)
OUTPUT_NORM = Role("output_norm", "norm.weight", of_hidden, layered=False, plain=True)

#: What every layer of both models has.
LAYER = (
    Role("attn_norm", "input_layernorm.weight", of_hidden, plain=True),
    Role("attn_q", "self_attn.q_proj.weight", of_query),
    Role("attn_q_norm", "self_attn.q_norm.weight", of_head, plain=True),
    Role("attn_output", "self_attn.o_proj.weight", lambda h, layer: (h.hidden, h.heads * h.head_dim(layer))),
    Role("post_attention_norm", "post_attention_layernorm.weight", of_hidden, plain=True),
    Role("ffn_norm", "pre_feedforward_layernorm.weight", of_hidden, plain=True),
    Role("ffn_gate", "mlp.gate_proj.weight", of_wide),
    Role("ffn_up", "mlp.up_proj.weight", of_wide),
    Role("ffn_down", "mlp.down_proj.weight", lambda h, layer: (h.hidden, h.layer_intermediate(layer))),
    Role("post_ffw_norm", "post_feedforward_layernorm.weight", of_hidden, plain=True),
    Role("layer_output_scale", "layer_scalar", lambda h, _: (1,), plain=True),
)

#: Keys and values, which an assistant reads from its target.
TARGET_ATTENTION = (
    Role("attn_k", "self_attn.k_proj.weight", of_key_value, needed=_owns_kv, allowed=_shares_kv),
    Role("attn_k_norm", "self_attn.k_norm.weight", of_head, needed=_owns_kv, allowed=_shares_kv, plain=True),
    Role("attn_v", "self_attn.v_proj.weight", of_key_value, needed=_has_values, allowed=_may_have_values),
)

_expert, _per_layer, _centroid = (
    partial(Role, needed=has) for has in (_has_experts, _has_per_layer_input, _has_centroids)
)
#: The mixture of experts beside the dense MLP (26B-A4B).
TARGET_EXPERTS = (
    _expert("ffn_gate_inp", "router.proj.weight", lambda h, _: (h.experts, h.hidden), plain=True),
    _expert("ffn_gate_inp.scale", "router.scale", of_hidden, plain=True),
    _expert("ffn_gate_up_exps", "experts.gate_up_proj", lambda h, _: (h.experts, 2 * h.expert_intermediate, h.hidden)),
    _expert("ffn_down_exps", "experts.down_proj", lambda h, _: (h.experts, h.hidden, h.expert_intermediate)),
    _expert("ffn_down_exps.scale", "router.per_expert_scale", lambda h, _: (h.experts,), plain=True),
    _expert("pre_ffw_norm_2", "pre_feedforward_layernorm_2.weight", of_hidden, plain=True),
    _expert("post_ffw_norm_1", "post_feedforward_layernorm_1.weight", of_hidden, plain=True),
    _expert("post_ffw_norm_2", "post_feedforward_layernorm_2.weight", of_hidden, plain=True),
)

#: Per-layer embeddings (E2B, E4B).
TARGET_PER_LAYER_INPUT = (
    _per_layer(
        "per_layer_token_embd",
        "embed_tokens_per_layer.weight",
        lambda h, _: (h.vocabulary, h.layers * h.per_layer_input),
        layered=False,
    ),
    _per_layer(
        "per_layer_model_proj",
        "per_layer_model_projection.weight",
        lambda h, _: (h.layers * h.per_layer_input, h.hidden),
        layered=False,
    ),
    _per_layer(
        "per_layer_proj_norm",
        "per_layer_projection_norm.weight",
        lambda h, _: (h.per_layer_input,),
        layered=False,
        plain=True,
    ),
    _per_layer("inp_gate", "per_layer_input_gate.weight", lambda h, _: (h.per_layer_input, h.hidden)),
    _per_layer("proj", "per_layer_projection.weight", lambda h, _: (h.hidden, h.per_layer_input)),
    _per_layer("post_norm", "post_per_layer_input_norm.weight", of_hidden, plain=True),
)

#: What makes an assistant one. `pre_projection` takes [target embedding, h]; `post_projection` gives the next h.
ASSISTANT_HEAD = (
    Role("nextn.pre_projection", "pre_projection.weight", lambda h, _: (h.hidden, 2 * h.backbone), layered=False),
    Role("nextn.post_projection", "post_projection.weight", lambda h, _: (h.backbone, h.hidden), layered=False),
    _centroid("centroids", "masked_embedding.centroids.weight", lambda h, _: (h.centroids, h.hidden), layered=False),
    _centroid(
        "token_ordering", "masked_embedding.token_ordering", lambda h, _: (h.vocabulary,), layered=False, plain=True
    ),
)

ROLES: dict[str, tuple[Role, ...]] = {
    Part.ASSISTANT: (EMBEDDING, *LAYER, OUTPUT_NORM, *ASSISTANT_HEAD),
    Part.TARGET: (EMBEDDING, *TARGET_PER_LAYER_INPUT, *LAYER, *TARGET_ATTENTION, *TARGET_EXPERTS, OUTPUT_NORM),
}

#: In every GGUF but in no checkpoint, because it is computed: see `Hyperparameters.rope_factors`.
ROPE_FREQS = Role("rope_freqs", "", lambda h, _: (h.head_dim_full // 2,), layered=False, plain=True)
ROPE_FREQS_NAME = f"{ROPE_FREQS.name}.weight"
#: The roles of a centroid head, which mainline files carry in their metadata.
HEAD_ROLES = ("centroids", "token_ordering")


@dataclass(frozen=True)
class Slot:
    """A role at a layer (None outside the layers): the place of one tensor in a model."""

    role: Role
    layer: int | None

    @property
    def source(self) -> str:
        """The tensor's name in a checkpoint, without a prefix."""
        return self.role.source if self.layer is None else f"layers.{self.layer}.{self.role.source}"

    @property
    def mainline_name(self) -> str:
        """The tensor's name in mainline's dialect. Scales, biases and integers are named as they are."""
        prefix = "" if self.layer is None else f"blk.{self.layer}."
        bare = self.role.integers or self.role.name.endswith((".scale", ".bias"))
        return prefix + (self.role.name if bare else f"{self.role.name}.weight")

    def shape(self, model: Hyperparameters) -> tuple[int, ...]:
        return self.role.shape(model, -1 if self.layer is None else self.layer)

    def needed(self, model: Hyperparameters) -> bool:
        return self.role.needed(model, -1 if self.layer is None else self.layer)

    def allowed(self, model: Hyperparameters) -> bool:
        return self.needed(model) or self.role.allowed(model, -1 if self.layer is None else self.layer)
