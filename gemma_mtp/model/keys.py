"""Every key that llama.cpp's loader reads from a Gemma 4 GGUF: type, length, range, and what a model writes for it.

The one table for both directions: `convert` writes by it, everybody reads by it (`model.gguf_keys`).

llama.cpp takes a key of exactly one type and stops at any other; where it has a default, `assumed` says which. A
default that would be wrong for every Gemma 4 (a rope base of 10,000 for the full layers) is not taken: such a file
loads and is silently wrong, so the key counts as required. Sources: llama.cpp, src/llama-model-loader.cpp (`get_key`,
`get_arr`, `get_key_or_arr`), src/llama-model.cpp `load_hparams`, src/llama-vocab.cpp `load`, src/models/gemma4.cpp and
gemma4-assistant.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import CENTROID_COUNT, CENTROID_TOP_K
from gemma_mtp.model.part import Part

MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS
MAX_COUNT = 2**31 - 1

#: Lengths that an array may have to have: of the model's layers, or at least of its tokens.
LAYERS, TOKENS = "layers", "tokens"
#: The length of an array that has one item at least, and whose items are wanted.
ITEMS = "items"


@dataclass(frozen=True)
class Form:
    """What a key may hold.

    words: the same, in the words of a message. scalar: the type of a single value; None: it must be an array.
    items: the types of an array's items; none: it must not be an array. length: how many; empty: any number.
    low, high: the bounds of a number, and of each layer's. below_tokens: a number must be the id of a token.
    choices: the texts that are known; none: any text. single_ignored: llama.cpp passes over what is no array.
    """

    words: str
    scalar: ValueType | None = None
    items: tuple[ValueType, ...] = ()
    length: str = ""
    low: float = 0
    high: float = MAX_COUNT
    below_tokens: bool = False
    choices: tuple[str, ...] = ()
    single_ignored: bool = False


U16, U32, I32, F32 = ValueType.UINT16, ValueType.UINT32, ValueType.INT32, ValueType.FLOAT32
BOOL, STRING = ValueType.BOOL, ValueType.STRING
SMALLEST, LARGEST = 1e-45, 3.5e38  # of the positive FLOAT32

DEPTH = Form(f"a UINT32 from 1 to {MAX_LAYERS}", U32, low=1, high=MAX_LAYERS)
COUNT = Form("a UINT32 above 0", U32, low=1)
SIZE = Form("a UINT32", U32)
# llama.cpp reserves four bytes for each token of a window at every batch (llama-kv-cache.cpp, `set_input_kq_mask`).
MAX_WINDOW = 2**24
WINDOW = Form(f"a UINT32 from 1 to {MAX_WINDOW:,}", U32, low=1, high=MAX_WINDOW)
NONE = Form("a UINT32 of 0", U32, high=0)
PART_COUNT = Form("a UINT16", U16)
EXPERTS = Form(f"a UINT32 up to {MAX_EXPERTS}", U32, high=MAX_EXPERTS)
REAL = Form("a FLOAT32 above 0", F32, low=SMALLEST, high=LARGEST)
NUMBER = Form("a FLOAT32", F32, low=-LARGEST, high=LARGEST)
PER_LAYER = Form("a UINT32 above 0, or an array with one for each layer", U32, (U32, I32), LAYERS, low=1)
SIZE_PER_LAYER = Form("a UINT32, or an array with one for each layer", U32, (U32, I32), LAYERS)
FLAGS = Form("an array with a boolean for each layer", None, (BOOL, U32, I32), LAYERS, high=2**32 - 1)
FLAG = Form("a BOOL", BOOL)
TRUE = Form("a BOOL that is true", BOOL, low=1)
TEXT = Form("a STRING", STRING)
SCALING = Form("one of none, linear, yarn, longrope", STRING, choices=("none", "linear", "yarn", "longrope"))
TEXTS = Form("an array of STRING", None, (STRING,))
NAMES = Form("an array of STRING", None, (STRING,), single_ignored=True)
ANY_ID = Form("a UINT32", U32, high=2**32 - 1)
TOKEN = Form("a UINT32 that is the id of a token", U32, below_tokens=True)
IDS = Form("an array of INT32", None, (I32,))
SCORES = Form("an array with a FLOAT32 (or INT32) for each token", None, (F32, I32), TOKENS)
KINDS = Form("an array with an INT32 for each token", None, (I32,), TOKENS)


#: What a model has to say for a key: one number, text or flag, one for each layer, or nothing.
Said = int | float | bool | str | tuple[int | bool, ...] | None


@dataclass(frozen=True)
class Key:
    """A key that is read. A model's is named as in mainline, without the architecture's prefix.

    of: what is written for a model; None: nothing is. parts: whose it is. needed: whether it must be there (if nothing
    is assumed). assumed: the key or the number that llama.cpp takes where it is absent.
    """

    name: str
    form: Form
    of: Callable[[Hyperparameters], Said] = lambda _: None
    parts: tuple[Part, ...] = tuple(Part)
    assumed: str | int | float | None = None
    needed: bool = True


def _optional(form: Form, *names: str) -> tuple[Key, ...]:
    return tuple(Key(name, form, needed=False) for name in names)


def _kv_heads(model: Hyperparameters) -> Said:
    if model.kv_heads_full is None:
        return model.kv_heads_sliding
    return tuple(model.kv_heads(layer) for layer in range(model.layers))


def _intermediate(model: Hyperparameters) -> Said:
    if not model.double_wide_mlp:
        return model.intermediate
    return tuple(model.layer_intermediate(layer) for layer in range(model.layers))


TARGET, ASSISTANT = (Part.TARGET,), (Part.ASSISTANT,)

#: The model's keys, in the order in which upstream's converter writes them; a key stands behind the one that it is
#: assumed from.
MODEL_KEYS = (
    Key("block_count", DEPTH, lambda model: model.layers),
    Key("context_length", COUNT, lambda model: model.context),
    Key("embedding_length", COUNT, lambda model: model.hidden),
    Key("feed_forward_length", PER_LAYER, _intermediate),
    Key("attention.head_count", PER_LAYER, lambda model: model.heads),
    Key("attention.head_count_kv", PER_LAYER, _kv_heads, assumed="attention.head_count"),
    Key("rope.freq_base", REAL, lambda model: model.rope_base_full),
    Key("rope.freq_base_swa", REAL, lambda model: model.rope_base_sliding, assumed=10_000.0),
    Key("attention.layer_norm_rms_epsilon", REAL, lambda model: model.norm_epsilon),
    Key("expert_count", EXPERTS, lambda model: model.experts or None, assumed=0),
    Key("expert_used_count", SIZE_PER_LAYER, lambda model: model.experts_used if model.experts else None, assumed=0),
    Key(
        "expert_feed_forward_length",
        SIZE_PER_LAYER,
        lambda model: model.expert_intermediate if model.experts else None,
        TARGET,
        assumed=0,
    ),
    Key("attention.key_length", COUNT, lambda model: model.head_dim_full),
    Key("attention.value_length", COUNT, lambda model: model.head_dim_full),
    Key("final_logit_softcapping", NUMBER, lambda model: model.logit_softcap or None, needed=False),
    Key("attention.sliding_window", WINDOW, lambda model: model.sliding_window),
    Key("attention.shared_kv_layers", SIZE, lambda model: model.shared_kv_layers, assumed=0),
    Key("embedding_length_per_layer_input", SIZE, lambda model: model.per_layer_input, TARGET),
    Key("embedding_length_per_layer_input", SIZE, lambda model: model.per_layer_input, ASSISTANT, needed=False),
    Key("attention.sliding_window_pattern", FLAGS, lambda model: model.sliding),
    Key("attention.key_length_swa", COUNT, lambda model: model.head_dim_sliding),
    Key("attention.value_length_swa", COUNT, lambda model: model.head_dim_sliding),
    Key("rope.dimension_count", COUNT, lambda model: model.head_dim_full, assumed="attention.key_length"),
    Key("rope.dimension_count_swa", COUNT, lambda model: model.head_dim_sliding, assumed="rope.dimension_count"),
    Key("embedding_length_out", COUNT, lambda model: model.backbone, ASSISTANT),
    Key("nextn_predict_layers", COUNT, lambda model: model.layers, ASSISTANT),
    # Written with the head that they describe (`convert.centroids`).
    Key(CENTROID_COUNT, SIZE, parts=ASSISTANT, assumed=0),
    Key(CENTROID_TOP_K, SIZE, parts=ASSISTANT, assumed=0),
    # Read from every model, and in no Gemma 4: a wrong type stops the loader, another value is another function.
    Key("embedding_length_out", SIZE, parts=TARGET, needed=False),
    Key("nextn_predict_layers", NONE, parts=TARGET, needed=False),
    *_optional(TRUE, "attention.causal"),
    *_optional(SIZE, "pooling_type", "classifier.pooling_type", "expert_group_used_count"),
    *_optional(NONE, "expert_group_count"),
    *_optional(NAMES, "classifier.output_labels"),
    *_optional(FLAG, "rope.scaling.finetuned"),
    *_optional(SIZE, "rope.scaling.original_context_length"),
    *_optional(SCALING, "rope.scaling.type"),
    *_optional(NUMBER, "rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor", "rope.scaling.alpha"),
)

TENSOR_NAMES, PRECISIONS = "general.tensor_extra.name", "general.tensor_extra.prec_a4"

#: The keys of every model, by their full names.
COMMON_KEYS = (
    Key("general.architecture", TEXT),
    *_optional(TEXT, "general.name"),
    *_optional(SIZE, "general.file_type"),
    *_optional(NAMES, TENSOR_NAMES),
    *_optional(Form(f"an array with a BOOL for each of {TENSOR_NAMES}", None, (BOOL,), TENSOR_NAMES), PRECISIONS),
    *_optional(PART_COUNT, "split.count"),
    Key("tokenizer.ggml.model", TEXT),
    Key("tokenizer.ggml.tokens", TEXTS),
    Key("tokenizer.ggml.merges", TEXTS),
    # Gemma 4's text always begins with it: without, the process aborts at the first prompt.
    Key("tokenizer.ggml.bos_token_id", TOKEN),
    *_optional(SCORES, "tokenizer.ggml.scores"),
    *_optional(KINDS, "tokenizer.ggml.token_type"),
    *_optional(TEXT, "tokenizer.ggml.pre", "tokenizer.chat_template"),
    *_optional(SIZE, "tokenizer.ggml.token_type_count"),
    *_optional(
        FLAG,
        *(f"tokenizer.ggml.{name}" for name in ("add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix")),
        *(f"tokenizer.ggml.{name}" for name in ("remove_extra_whitespaces", "normalizer.lowercase")),
        "tokenizer.ggml.normalizer.strip_accents",
    ),
    # An id that is no token's is dropped with a line in the log: -1 (4,294,967,295 here) is how some tools say "none".
    *_optional(
        ANY_ID,
        *(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom", "unknown", "seperator", "padding")),
        *(f"tokenizer.ggml.{name}_token_id" for name in ("mask", "prefix", "suffix", "middle")),
        *(f"tokenizer.ggml.fim_{name}_token_id" for name in ("pre", "suf", "mid", "pad", "rep", "sep")),
    ),
    *_optional(IDS, "tokenizer.ggml.suppress_tokens"),
)
